#!/usr/bin/env python3
"""Prints the lengths of a trace as 100 numbers for prompts and 100 for completions.

Each is the mean of one hundredth of the sorted lengths, so that drawing one of them at random keeps
the trace's mean. The figures in Sources/NanoSearch/Simulated/WorkloadLengths.swift come from here:

    Scripts/length_quantiles.py sharegpt.csv lmsys.csv splitwise.csv
"""
import csv
import sys


def slices(values, count=100):
    values = sorted(values)
    edges = [round(len(values) * i / count) for i in range(count + 1)]
    return [max(1, round(sum(values[a:b]) / (b - a))) for a, b in zip(edges, edges[1:])]


for path in sys.argv[1:]:
    with open(path, newline="") as file:
        rows = [
            (int(row["ContextTokens"]), int(row["GeneratedTokens"]))
            for row in csv.DictReader(file, skipinitialspace=True)
        ]
    rows = [row for row in rows if row[0] > 0 and row[1] > 0]
    for name, column in (("prompts", 0), ("completions", 1)):
        print(path, name, slices([row[column] for row in rows]))
