"""TFRecord files: the published wire format, and nothing damaged is read."""

import struct

import pytest

from advvid.core.errors import AdvvidError
from advvid.data import tfrecord

FIRST = tfrecord.sequence_example(
    {"id": b"ab", "labels": [1, 300]}, {"rgb": [b"\x00\x01", b"zz"], "audio": [b"q", b"r"]}
)


@pytest.fixture
def path(tmp_path):
    tfrecord.write(tmp_path / "a.tfrecord", [FIRST, b"", FIRST * 2])
    return tmp_path / "a.tfrecord"


def test_the_frame_is_that_of_the_format():
    """The masked checksum of the length 0 and of no data, as every empty record of the format starts and ends."""
    # CRC-32C of eight zero bytes is 0x8C28B28A, of nothing 0; the mask rotates by 15 and adds 0xA282EAD8.
    rotated = (0x8C28B28A >> 15 | 0x8C28B28A << 17) & 0xFFFFFFFF
    assert tfrecord._checksum(bytes(8)) == struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)
    assert tfrecord._checksum(b"") == struct.pack("<I", 0xA282EAD8)


def test_messages_have_the_wire_form_of_example_proto():
    """Field numbers as in TensorFlow's example.proto, laid out by hand."""
    label = bytes.fromhex("0a110a066c6162656c7312071a050a0301ac02")  # labels: int64_list [1, 300]
    name = bytes.fromhex("0a0c0a02696412060a040a026162")  # id: bytes_list [ab]
    context = name + label
    rgb = bytes.fromhex("0a170a0372676212100a060a040a0200010a060a040a027a7a")
    audio = bytes.fromhex("0a170a05617564696f120e0a050a030a01710a050a030a0172")
    lists = audio + rgb
    message = tfrecord.SequenceExample()
    message.ParseFromString(b"\x0a" + bytes([len(context)]) + context + b"\x12" + bytes([len(lists)]) + lists)
    assert list(message.context.feature["labels"].int64_list.value) == [1, 300]
    assert message.context.feature["id"].bytes_list.value[0] == b"ab"
    assert [f.bytes_list.value[0] for f in message.feature_lists.feature_list["rgb"].feature] == [b"\x00\x01", b"zz"]
    assert [f.bytes_list.value[0] for f in message.feature_lists.feature_list["audio"].feature] == [b"q", b"r"]


def test_what_is_written_is_read(path):
    found = list(tfrecord.places(path))
    assert [place.length for place in found] == [len(FIRST), 0, 2 * len(FIRST)]
    assert [tfrecord.read(path, place) for place in found] == [FIRST, b"", FIRST * 2]
    message = tfrecord.parse(FIRST, "here")
    assert tfrecord.SequenceExample.FromString(message.SerializeToString()) == message
    assert not list(path.parent.glob("*.tmp"))


def test_a_flipped_bit_is_found(path):
    data = bytearray(path.read_bytes())
    places = list(tfrecord.places(path))
    data[places[2].offset + 20] ^= 1
    path.write_bytes(data)
    assert tfrecord.read(path, places[0]) == FIRST
    with pytest.raises(AdvvidError, match=rf"record at byte {places[2].offset - 12} of .*a\.tfrecord is damaged"):
        tfrecord.read(path, places[2])


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_truncated_file_is_refused(path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(AdvvidError, match=r"a\.tfrecord is cut off inside record 2"):
        list(tfrecord.places(path))


def test_a_file_of_another_kind_is_refused(path):
    path.write_text("no records, but long enough for a length with its checksum")
    with pytest.raises(AdvvidError, match="holds a damaged length at record 0"):
        list(tfrecord.places(path))
    with pytest.raises(AdvvidError, match="record 3 of x is no SequenceExample"):
        tfrecord.parse(b"\xff\xff\xff", "record 3 of x")


def test_a_huge_length_is_damage_even_with_its_checksum(path):
    length = struct.pack("<Q", 1 << 62)
    path.write_bytes(length + tfrecord._checksum(length))
    with pytest.raises(AdvvidError, match="damaged length"):
        list(tfrecord.places(path))
