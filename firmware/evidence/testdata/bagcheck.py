"""Checks a bag against the rules of RFC 8493, apart from the Go code: a second
reading of the standard. Usage: python3 bagcheck.py BAG; exit 1 names what is wrong."""

import hashlib
import os
import re
import sys


def lines(path):
    with open(path, "rb") as f:
        text = f.read()
    if text.startswith(b"\xef\xbb\xbf"):
        sys.exit(f"{path}: byte order mark (2.1.1)")
    return text.decode("utf-8").splitlines()


def files(root, top):
    for folder, _, names in os.walk(os.path.join(root, top)):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")


def manifest(root, name):
    """The entries of a manifest (2.1.3), each file once, and every hash right."""
    algorithm = re.fullmatch(r"(?:tag)?manifest-([a-z0-9]+)\.txt", name).group(1)
    found = {}
    for line in lines(os.path.join(root, name)):
        m = re.fullmatch(r"([0-9a-fA-F]+)[ \t]+(.+)", line)
        if not m:
            sys.exit(f"{name}: line {line!r}")
        path = re.sub("%0[aA]|%0[dD]|%25", lambda e: chr(int(e.group()[1:], 16)), m.group(2))
        if path.startswith(("/", "~", "./")) or ".." in path.split("/") or path in found:
            sys.exit(f"{name}: path {path!r}")
        full = os.path.join(root, path)
        if not os.path.isfile(full):
            sys.exit(f"{name}: {path} is missing")
        with open(full, "rb") as f:
            if hashlib.file_digest(f, algorithm).hexdigest() != m.group(1).lower():
                sys.exit(f"{name}: {path} has another hash")
        found[path] = True
    return set(found)


def main(root):
    if lines(os.path.join(root, "bagit.txt")) != ["BagIt-Version: 1.0", "Tag-File-Character-Encoding: UTF-8"]:
        sys.exit("bagit.txt: not the declaration (2.1.1)")
    payload = set(files(root, "data"))
    top = os.listdir(root)
    manifests = [n for n in top if n.startswith("manifest-")]
    if not manifests or "data" not in top:
        sys.exit("no payload manifest, or no data (2.1.2, 2.1.3)")
    for name in manifests:
        if manifest(root, name) != payload:
            sys.exit(f"{name}: lists other files than data/ holds (3)")
    for name in (n for n in top if n.startswith("tagmanifest-")):
        tags = manifest(root, name)
        if not tags >= {"bagit.txt", *manifests} or any(t.startswith(("data/", "tagmanifest-")) for t in tags):
            sys.exit(f"{name}: lists too little, or what it must not (2.2.1)")
    info = {}
    for line in lines(os.path.join(root, "bag-info.txt")):
        label, colon, value = line.partition(":")
        if not colon or label != label.strip() or not value.startswith((" ", "\t")):
            sys.exit(f"bag-info.txt: line {line!r} (2.2.2)")
        info[label] = value.strip()
    octets = sum(os.path.getsize(os.path.join(root, p)) for p in payload)
    if info.get("Payload-Oxum") != f"{octets}.{len(payload)}":
        sys.exit("bag-info.txt: Payload-Oxum is wrong (2.2.2)")


main(sys.argv[1])
