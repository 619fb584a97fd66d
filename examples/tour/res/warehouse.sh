#!/bin/sh
# Rows of the last hour, by the clock: an order every 12 seconds with a gap of two minutes in every six, a visitor
# every 30 seconds. The query says which.
query=$WATCHBELL_QUERY
now=$(date +%s)
echo key,time
case $query in
    orders) step=12 ;;
    *) step=30 ;;
esac
second=$((now / step * step))
while [ "$second" -gt $((now - 3600)) ]; do
    if [ "$query" != orders ] || [ $((second % 360)) -lt 240 ]; then
        echo "$query-$second,$second"
    fi
    second=$((second - step))
done
