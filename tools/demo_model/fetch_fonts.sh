#!/bin/sh
# fetch_fonts.sh DIR: the fonts of fonts.txt and the word list of the generator, from Debian packages, flat into DIR.
# Needs apt-get and dpkg (Debian 12), no root. Every font is checked against its sha256.
set -eu
dir=${1:?"usage: fetch_fonts.sh DIR"}
list=$(cd "$(dirname "$0")" && pwd)/fonts.txt
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# shellcheck disable=SC2046
apt-get download -q $(grep -v '^#' "$list" | awk '{print $3}' | sort -u) wamerican
for deb in *.deb; do
  mkdir "${deb%%_*}"
  dpkg -x "$deb" "${deb%%_*}"
done
grep -v '^#' "$list" | while read -r _ _ package file sum _; do
  # Flat names have no blanks ("Courier Prime Bold.otf" becomes CourierPrime-Bold.otf).
  found=$(find "$package" -type f \( -name "$file" -o -name "$(echo "$file" | sed 's/CourierPrime-/Courier Prime /')" \) | head -1)
  cp "$found" "$dir/$file"
  echo "$sum  $dir/$file" | sha256sum -c --quiet
done
grep -x '[a-z]\{2,11\}' wamerican/usr/share/dict/american-english > "$dir/words.txt"
echo "$(ls "$dir" | wc -l) files in $dir"
