"""Run as ``python -m tests.integration.submit '{"count": 3, "params": {...}}'``: queue stub jobs, print their ids."""

from __future__ import annotations

import json
import sys

import django


def main() -> None:
    django.setup()
    import logging

    logging.getLogger("django-q").setLevel(logging.WARNING)
    request = json.loads(sys.argv[1])
    if request["transport"] == "bare":
        print(json.dumps(_bare(request)))
        return
    from shopgen_django.services.submit import submit_job

    if request["transport"] == "chain":
        from tests.factories import make_image

        steps = [{"operation": "stub_slow", "params": {"tag": f"s{n}", **request["params"]}} for n in range(3)]
        params = {"recipe": "own", "steps": steps}
        job, _new = submit_job(operation="recipe", params=params, inputs=[make_image(kind="source")])
        print(json.dumps([str(job.pk)]))
        return
    ids = []
    for number in range(request["count"]):
        job, _new = submit_job(operation="stub", params={"tag": f"t{number}", **request["params"]})
        ids.append(str(job.pk))
    print(json.dumps(ids))


def _bare(request: dict[str, object]) -> list[str]:
    """The same work as plain django-q2 tasks, for comparison."""
    from django_q.tasks import async_task

    params = request["params"]
    assert isinstance(params, dict)
    return [
        async_task("tests.jobs.stubs.bare.work", params.get("outputs", 0), f"t{number}")
        for number in range(int(str(request["count"])))
    ]


if __name__ == "__main__":
    main()
