"""Real programs: all of HumanEval through one batch."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

from python_executor import PythonExecutorService

BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[4] / "shared" / "data"


def test_all_programs_of_human_eval_succeed() -> None:
    data = Path(os.environ.get("SHARED_DATA", BESIDE_THE_REPOSITORY)) / "HumanEval.jsonl.gz"
    assert data.exists(), f"{data} is missing; set SHARED_DATA to the folder that holds it"
    with gzip.open(data, "rt") as file:
        problems = [json.loads(line) for line in file]
    programs = [
        f"{p['prompt']}{p['canonical_solution']}\n{p['test']}\ncheck({p['entry_point']})"
        for p in problems
    ]
    with PythonExecutorService(pool_size=8, timeout=60.0) as executor:
        results = executor.execute_batch(programs)
    failed = {
        problem["task_id"]: result["error"]
        for problem, result in zip(problems, results, strict=True)
        if not result["success"]
    }
    assert len(results) == 164
    assert failed == {}
