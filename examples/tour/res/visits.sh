#!/usr/bin/env bash
echo $((1000 + $(date +%s) % 600))
