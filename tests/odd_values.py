"""What somebody may write into a file that others read: values of every odd kind, put anywhere, and damaged bytes."""

import copy
import math
import random

ODD = [
    None,
    True,
    False,
    0,
    -1,
    1,
    10**30,
    0.5,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "x",
    "../../x",
    "/etc/passwd",
    "${oc.env:HOME}",
    "${seed}",
    "${a",
    "}",
    "_target_",
    "os.system",
    "torch.nn.Linear",
    "advvid.data.cache.FrameCache",
    "1e999999999",
    "9" * 5000,
    "a\nb",
    "\x00",
    "\x1b[2J",
    "\u202e",
    "<script>",
    "|`*[x](y)",
    "é",
    "\ud800",
    "'",
    '"',
    "$x^",
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"_target_": "os.system", "command": "true"},
    {"_target_": 3},
    {"_partial_": True},
    [1, "a", {"b": []}],
]


def paths_in(tree, path=()):
    yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield from paths_in(value, (*path, key))


def changed(tree, seed):
    """Return a copy of a tree of plain values with up to three places replaced, removed, renamed or put elsewhere."""
    draw = random.Random(seed)
    tree = copy.deepcopy(tree)
    for _ in range(draw.randint(1, 3)):
        places = [path for path in paths_in(tree) if path]
        if not places:
            return tree
        *above, key = draw.choice(places)
        holder = tree
        for step in above:
            holder = holder[step]
        kind = draw.choice(["replace"] * 5 + ["remove", "rename", "wrap", "add", "move"])
        if kind == "replace":
            holder[key] = copy.deepcopy(draw.choice(ODD))
        elif kind == "remove":
            del holder[key]
        elif kind == "rename" and isinstance(holder, dict):
            holder[draw.choice([x for x in ODD if isinstance(x, str)])] = holder.pop(key)
        elif kind == "wrap":
            holder[key] = draw.choice([[holder[key]], {"x": holder[key]}, str(holder[key])])
        elif kind == "add" and isinstance(holder, dict):
            holder[draw.choice([x for x in ODD if isinstance(x, str)])] = copy.deepcopy(draw.choice(ODD))
        elif kind == "move":
            *_, other = draw.choice(places)
            if isinstance(holder, dict) and isinstance(other, str):
                holder[other] = copy.deepcopy(holder[key])
    return tree


def damaged(content, seed):
    """Return bytes that were cut, flipped, doubled, or had odd ones put in."""
    draw = random.Random(seed)
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at, end = sorted(draw.randint(0, len(data)) for _ in range(2))
        kind = draw.choice(["flip"] * 3 + ["cut", "insert", "double", "zero"])
        if kind == "flip" and data:
            data[min(at, len(data) - 1)] ^= 1 << draw.randrange(8)
        elif kind == "cut":
            del data[at : min(end, at + 200)]
        elif kind == "insert":
            odd = draw.choice(
                [
                    b"\x00",
                    b"\xff\xfe",
                    b"../",
                    b"\n",
                    b"{",
                    b"[" * 500,
                    b"9" * 5000,
                    b"NaN",
                    b"&a *a",
                    b"!!python/x",
                    b"-1",
                    b"\r",
                ]
            )
            data[at:at] = odd
        elif kind == "double":
            data[at:at] = data[at : min(end, at + 200)]
        else:
            data[at : min(end, at + 8)] = bytes(min(end, at + 8) - at)
    return bytes(data)
