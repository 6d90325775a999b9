#!/bin/bash
# The licenses of everything that goes into the program: a list, and the text of each license once per crate.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu | python3 -c '
import json, pathlib, sys
data = json.load(sys.stdin)
names = {package["id"]: package for package in data["packages"]}
nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
own = set(data["workspace_members"])
seen, open_ = set(), list(own)
while open_:
    at = open_.pop()
    if at in seen:
        continue
    seen.add(at)
    # what only tests need is not in the program
    open_ += [dep["pkg"] for dep in nodes[at]["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
for package in sorted((names[at] for at in seen - own), key=lambda package: (package["name"], package["version"])):
    print("{name} {version}: {license}".format(**package))
    folder = pathlib.Path(package["manifest_path"]).parent
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE")):
            print("\n--- " + file.name + "\n\n" + file.read_text(errors="replace"))
    print("=" * 80)
'
