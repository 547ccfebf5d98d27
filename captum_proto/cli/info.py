"""``captum-proto info``: versions, devices, and what is native here."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import torch

from captum_proto import ops
from captum_proto.cli import arguments as shared
from captum_proto.runs.provenance import versions


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "info", "versions, devices, and what is native here and why not")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    facts = {
        "versions": versions(),
        "devices": {
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "OpenMP": {name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ},
            "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "native": ops.backend(),
    }
    if args.json:
        print(json.dumps(facts, indent=2, default=str))
        return
    for title, entries in facts.items():
        print(title)
        _print_entries(entries, "  ")


def _print_entries(entries: Any, indent: str) -> None:
    for key, value in entries.items():
        if isinstance(value, dict):
            print(f"{indent}{key}")
            _print_entries(value, indent + "  ")
        else:
            shown = ", ".join(map(str, value)) or "none" if isinstance(value, (list, tuple)) else value
            print(f"{indent}{key}: {shown}")
