#!/bin/sh
# Somebody at the keyboard: every four minutes the front page is squelched for the time of one wave.
t=$(($(date +%s) % 240))
if [ "$t" -ge 130 ] && [ "$t" -lt 140 ]; then
    "$WATCHBELL" -c "$WATCHBELL_CONFIG" squelch //tour/shop/web "the tour shows how a squelch works" --for 50s
else
    echo "nothing to do"
fi
