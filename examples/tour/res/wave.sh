#!/bin/sh
# wave.sh NAME PERIOD FROM TO: a plugin that is critical between FROM and TO seconds of each PERIOD.
t=$(($(date +%s) % $2))
if [ "$t" -ge "$3" ] && [ "$t" -lt "$4" ]; then
    echo "CRITICAL - $1 does not answer|age=${t}s;$3"
    exit 2
fi
echo "OK - $1 answers|age=${t}s;$3"
