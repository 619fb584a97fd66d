#!/usr/bin/env bash
# Prints one number, and nothing else: how many minutes this machine is up, modulo ten.
awk '{ print int($1 / 60) % 10 }' /proc/uptime
