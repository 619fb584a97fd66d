#!/bin/sh
# A JSON plugin: one of two disks is nearly full for half a minute of every three.
t=$(($(date +%s) % 180))
if [ "$t" -ge 90 ] && [ "$t" -lt 120 ]; then
    faults='{"name": "data", "severity": "critical", "message": "/data is 97 % full"}'
fi
echo "{\"faults\": [$faults], \"metrics\": [{\"name\": \"root\", \"value\": 41, \"units\": \"%\"}, {\"name\": \"data\", \"value\": $((40 + t / 3)), \"units\": \"%\"}]}"
