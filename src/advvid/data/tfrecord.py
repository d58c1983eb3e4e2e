"""TFRecord files of SequenceExamples, read and written without TensorFlow, every checksum compared.

The messages are protobuf's own, from descriptors made here; the checksum is google-crc32c's. Of the packages that
offer the whole, ``tfrecord`` reads past a wrong checksum and torchdata's reader is no longer kept up.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from advvid.core.errors import AdvvidError
from advvid.core.files import replacing

HEAD, TAIL = 12, 4  # bytes before and after a record's data: its length with a checksum, and the data's checksum
# A longer record is no video's: the length itself is damaged.
LARGEST = 1 << 30


@dataclass(frozen=True)
class Place:
    """Where a record's data lie in a file."""

    offset: int
    length: int


def places(path: Path) -> Iterator[Place]:
    """Yield where each record of a file lies; only lengths are read, and their checksums compared.

    Raises:
        AdvvidError: if the file ends inside a record, or a length is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start, number = 0, 0
        while start < size:
            file.seek(start)
            head = file.read(HEAD)
            length = _length(head)
            if length is None or start + HEAD + length + TAIL > size:
                what = "is cut off inside" if length is not None or len(head) < HEAD else "holds a damaged length at"
                raise AdvvidError(f"{path} {what} record {number} (byte {start} of {size}): get the file again")
            yield Place(start + HEAD, length)
            start += HEAD + length + TAIL
            number += 1


def checksum(path: Path, place: Place) -> str:
    """Return a record's length and the checksum that stands behind its data, without reading the data."""
    with path.open("rb") as file:
        file.seek(place.offset + place.length)
        return f"{place.length}:{file.read(TAIL).hex()}"


def read(path: Path, place: Place, file: BinaryIO | None = None) -> bytes:
    """Return a record's data.

    Args:
        path: of the file.
        place: of the record.
        file: the same file, open, where several records are read.

    Raises:
        AdvvidError: if the data do not match their checksum.
    """
    if file is None:
        with path.open("rb") as opened:
            return read(path, place, opened)
    file.seek(place.offset)
    data = file.read(place.length + TAIL)
    if len(data) != place.length + TAIL or _checksum(data[:-TAIL]) != data[-TAIL:]:
        raise AdvvidError(
            f"the record at byte {place.offset - HEAD} of {path} is damaged (its checksum does not match): get the file "
            "again"
        )
    return data[:-TAIL]


def write(path: Path, records: Iterable[bytes]) -> None:
    """Write a file of records; it appears whole or not at all."""
    with replacing(path) as file:
        for data in records:
            length = struct.pack("<Q", len(data))
            file.write(length + _checksum(length) + data + _checksum(data))


def parse(data: bytes, where: str) -> Any:
    """Return a record as a ``SequenceExample`` message.

    Raises:
        AdvvidError: if it is none; ``where`` says which record it is.
    """
    try:
        return SequenceExample.FromString(data)
    except DecodeError:
        raise AdvvidError(f"{where} is no SequenceExample: give YouTube-8M's frame-level files") from None


def sequence_example(context: Mapping[str, bytes | Sequence[int]], frames: Mapping[str, Sequence[bytes]]) -> bytes:
    """Return a ``SequenceExample`` as a record's data.

    Args:
        context: bytes or whole numbers that belong to the whole video, by name.
        frames: bytes of each frame, by the name of the modality.
    """
    message = SequenceExample()
    for name, value in context.items():
        feature = message.context.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.extend(value)
    for name, rows in frames.items():
        for row in rows:
            message.feature_lists.feature_list[name].feature.add().bytes_list.value.append(row)
    return bytes(message.SerializeToString(deterministic=True))


def _checksum(data: bytes) -> bytes:
    """Return TFRecord's masked CRC-32C."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _length(head: bytes) -> int | None:
    if len(head) < HEAD or _checksum(head[:8]) != head[8:]:
        return None
    length = int(struct.unpack("<Q", head[:8])[0])
    return length if length <= LARGEST else None


def _message_class() -> Any:
    """Return the class of ``SequenceExample`` messages, wire for wire that of TensorFlow's ``example.proto``."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="advvid/example.proto", package="advvid", syntax="proto3")

    def message(name: str, *fields: tuple[str, str | int, bool]) -> Any:
        made = file.message_type.add(name=name)
        for number, (field, kind, repeated) in enumerate(fields, 1):
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if isinstance(kind, int):
                made.field.add(name=field, number=number, label=label, type=kind)
            else:
                made.field.add(
                    name=field, number=number, label=label, type=kinds.TYPE_MESSAGE, type_name=f".advvid.{kind}"
                )
        return made

    def mapping(name: str, field: str, kind: str) -> None:
        made = message(name, (field, f"{name}.Entry", True))
        # protobuf derives the entry's name from the field's.
        entry = made.nested_type.add(name="".join(part.title() for part in field.split("_")) + "Entry")
        made.field[0].type_name = f".advvid.{name}.{entry.name}"
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING)
        entry.field.add(
            name="value", number=2, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_MESSAGE, type_name=f".advvid.{kind}"
        )

    message("BytesList", ("value", kinds.TYPE_BYTES, True))
    message("FloatList", ("value", kinds.TYPE_FLOAT, True))
    message("Int64List", ("value", kinds.TYPE_INT64, True))
    feature = message(
        "Feature",
        ("bytes_list", "BytesList", False),
        ("float_list", "FloatList", False),
        ("int64_list", "Int64List", False),
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    mapping("Features", "feature", "Feature")
    message("FeatureList", ("feature", "Feature", True))
    mapping("FeatureLists", "feature_list", "FeatureList")
    message("SequenceExample", ("context", "Features", False), ("feature_lists", "FeatureLists", False))
    pool = descriptor_pool.DescriptorPool()  # not the default one, which TensorFlow fills with the same names
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("advvid.SequenceExample"))


SequenceExample = _message_class()
