"""``python -m shopgen_django.ml.helper``: one of the other processes of a run; started by :mod:`.launch`, not by hand.

Its order comes on standard input as JSON. It says nothing, writes nothing, and ends when process 0 does.
"""

from __future__ import annotations

import datetime
import json
import sys

from .errors import MLError, ProcessLost
from .train import set_thread_policy


def main() -> int:
    """Train along; the exit status is 0, or 1 with a reason on standard error."""
    order = json.load(sys.stdin)
    set_thread_policy()
    import torch.distributed as dist

    from .config import config_from_dict
    from .loop import train_along
    from .runtime import choose_device, stop_on_signals
    from .seat import Seat
    from .together import join, on_this_host_only

    count = order["count"]
    seat = Seat(rank=order["rank"], count=count, local_rank=order["rank"], local_count=count)
    try:
        config = config_from_dict(order["config"])
        with stop_on_signals() as flag:
            with on_this_host_only():
                store = dist.TCPStore(
                    "127.0.0.1", order["port"], count, is_master=False, timeout=datetime.timedelta(seconds=60)
                )
                store.set(f"there/{seat.rank}", "1")
                processes = join(seat, store, choose_device(config.device), patience=order["patience"])
            try:
                train_along(config, processes, seat, should_stop=flag)
            finally:
                processes.close()
    except ProcessLost:
        return 1  # process 0 knows why, or is gone itself
    except MLError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
