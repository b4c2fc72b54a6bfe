#!/bin/sh
# Asks a tiny test checkpoint about a picture. Its weights are random, so the answer is noise; what it shows is that the
# whole path works, and that the numbers behind it are those of the reference.
set -eu
cd "$(dirname "$0")/.."
model=tests/goldens/tiny-2b
picture=tests/goldens/media/card.png
question='Describe this picture in detail, please.'
echo "Model:    $model (a tiny test checkpoint with random weights: expect noise, not sense)"
echo "Picture:  $picture"
echo "Question: $question"
printf 'Answer:   '
build/release/qvl run "$model" "$picture" "$question" --temperature 0 --max-tokens 24 --stats
echo
echo 'The same checkpoint against transformers in float32:'
build/release/qvl parity "$model" --case image --case text
