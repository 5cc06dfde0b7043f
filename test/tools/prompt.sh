#!/bin/bash
# prompt.sh [FILE]: makes the spoken prompt that the gateway carries in itself,
# from the text below. It needs espeak-ng and sox (Debian packages); the build
# does not, since the result is in the repository.
set -euo pipefail

text='The customer has not allowed calls from us yet.
Your call cannot be placed now. Please try again later.'
out=${1:-$(dirname "$0")/../../media/prompt/no_permission.wav}

# What a telephone carries, no louder than speech on a line, in one byte a
# sample. Without dithering the same text gives the same file.
espeak-ng -v en-gb -s 150 --stdout "$text" |
  sox --no-dither --ignore-length -t wav - -t wav -r 8000 -c 1 -e mu-law "$out" \
    highpass 200 silence 1 0.01 0.3% reverse silence 1 0.01 0.3% reverse norm -6
