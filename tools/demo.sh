#!/bin/sh
# Asks the demo model, which ships with the project, about pictures that it has never seen.
set -eu
cd "$(dirname "$0")/.."
pictures=tests/synocrbench/OCRBench_Images/syn
ask() {  # PICTURE QUESTION EXPECTED
  echo "Picture:  $pictures/$1"
  echo "Question: $2"
  printf 'Answer:   '
  build/release/qvl run models/demo "$pictures/$1" "$2"
  printf 'Expected: %s\n' "$3"
  echo
}
ask STVQA/9000340.jpeg 'what is written on the white sign?' 'Axis Upswing'
ask SROIE/9000720.jpg 'what is the name of the company that issued this receipt? Answer this question using the text in the image directly.' \
  'Phobics Optics'
ask HME100K/9000930.png 'Please write out the expression of the formula in the image using LaTeX format.' \
  '\frac{15}{9}-\frac{16}{52}=k_{2}'
echo 'The first one again, with what it cost:'
build/release/qvl run models/demo "$pictures/STVQA/9000340.jpeg" 'what is written on the white sign?' --stats
