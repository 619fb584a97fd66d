#!/bin/sh
# A JSON plugin: prints faults with names of their own, and metrics.
age=120
if [ "$age" -gt 3600 ]; then
    faults='{"name": "model", "severity": "error", "message": "the model was not trained for an hour"}'
fi
printf '{"faults": [%s], "metrics": [{"name": "model_age", "value": %s, "units": "Seconds"}]}\n' "$faults" "$age"
