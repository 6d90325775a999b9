#!/bin/bash
# Makes a release in a folder: archives, packages, sums, and the script that installs them.
#
#   packaging/release.sh [--binary FILE] FOLDER [ADDRESS]
#
# ADDRESS: where the folder will be found, which install.sh and `macula upgrade` then know. Needs cargo, cargo-zigbuild with
# zig (`pip install cargo-zigbuild ziglang` brings both), and for the packages dpkg-deb and rpmbuild; without one of these it
# says what is left out. --binary: packs this program instead of building one, whatever glibc it needs.
set -euo pipefail
usage="usage: packaging/release.sh [--binary FILE] FOLDER [ADDRESS]"
binary=
if [ "${1:-}" = --binary ]; then
  binary=$(realpath -e -- "${2:?$usage}")
  shift 2
fi
out=${1:?$usage}
address=${2:-}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."
arch=${MACULA_ARCH:-x86_64}
# the oldest glibc that the program runs with: that of RHEL 7
glibc=2.17
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
target=$arch-unknown-linux-gnu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -n "$binary" ]; then
  program=$binary
else
  MACULA_RELEASES=$address cargo zigbuild --locked --profile dist --target "$target.$glibc" --bin macula
  program=target/$target/dist/macula
fi
# what it really asks for, in the words of its symbols
needs=$(grep -aoE 'GLIBC_2\.[0-9]+(\.[0-9]+)?' "$program" | sort -uV | tail -1 || true)
needs=${needs#GLIBC_}
if [ -z "$binary" ] && [ "$(printf '%s\n' "$glibc" "${needs:-0}" | sort -V | tail -1)" != "$glibc" ]; then
  echo "the program needs glibc $needs, and is to run with $glibc" >&2
  exit 1
fi

# what goes into archive and packages, made by the program itself
tree=$work/macula-$arch-linux
mkdir -p "$tree/completions"
install -m 755 "$program" "$tree/macula"
"$program" man "$tree/man"
for shell in bash zsh fish; do "$program" completions "$shell" > "$tree/completions/macula.$shell"; done
cp LICENSE README.md CHANGELOG.md "$tree"
packaging/licenses.sh > "$tree/THIRD-PARTY-LICENSES"

tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" -C "$work" -cf - "macula-$arch-linux" \
  | gzip -9n > "$out/macula-$arch-linux.tar.gz"

# as a distribution lays it out
root=$work/root
install -D -m 755 "$program" "$root/usr/bin/macula"
install -D -m 644 "$tree/completions/macula.bash" "$root/usr/share/bash-completion/completions/macula"
install -D -m 644 "$tree/completions/macula.zsh" "$root/usr/share/zsh/vendor-completions/_macula"
install -D -m 644 "$tree/completions/macula.fish" "$root/usr/share/fish/vendor_completions.d/macula.fish"
install -D -m 644 -t "$root/usr/share/man/man1" "$tree"/man/*.1
gzip -9n "$root"/usr/share/man/man1/*.1
install -D -m 644 -t "$root/usr/share/doc/macula" "$tree/THIRD-PARTY-LICENSES" LICENSE

case $arch in x86_64) deb_arch=amd64 ;; aarch64) deb_arch=arm64 ;; *) deb_arch=$arch ;; esac
if command -v dpkg-deb > /dev/null; then
  mkdir -p "$work/deb/DEBIAN"
  cp -a "$root/." "$work/deb"
  cat > "$work/deb/DEBIAN/control" <<END
Package: macula
Version: $version
Architecture: $deb_arch
Maintainer: The Macula authors <macula@localhost>
Depends: libc6 (>= ${needs:-$glibc})
Suggests: docker.io | podman, mmdebstrap
Section: devel
Priority: optional
Description: A whole platform on a laptop or in a CI job, with one command
END
  dpkg-deb --root-owner-group --build "$work/deb" "$out/macula_${version}_$deb_arch.deb" > /dev/null
else
  echo "no dpkg-deb here: no .deb is made" >&2
fi
if command -v rpmbuild > /dev/null; then
  cat > "$work/macula.spec" <<END
Name: macula
Version: ${version//-/\~}
Release: 1
Summary: A whole platform on a laptop or in a CI job, with one command
License: Apache-2.0
%description
Infrastructure services behind one ingress, under names of their own, and a Kubernetes cluster wired to them.
%install
cp -a $root/. %{buildroot}
%files
/usr/bin/macula
/usr/share/bash-completion/completions/macula
/usr/share/zsh/vendor-completions/_macula
/usr/share/fish/vendor_completions.d/macula.fish
/usr/share/man/man1/*
/usr/share/doc/macula
END
  rpmbuild -bb --quiet --target "$arch" --define "_topdir $work/rpm" --define "__os_install_post %{nil}" \
    --define "_build_id_links none" "$work/macula.spec"
  cp "$work"/rpm/RPMS/"$arch"/macula-*.rpm "$out"
else
  echo "no rpmbuild here: no .rpm is made" >&2
fi

sed "s|^from=''\$|from='$address'|" packaging/install.sh > "$out/install.sh"
(cd "$out" && rm -f SHA256SUMS && sha256sum -- *.tar.gz *.deb *.rpm install.sh 2> /dev/null > "$work/sums" || true; cp "$work/sums" SHA256SUMS)
ls -l "$out"
echo "the program: $(stat -c %s "$program") bytes, glibc ${needs:-none}"
