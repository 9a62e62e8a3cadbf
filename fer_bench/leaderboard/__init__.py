"""Records -> the board: everything under `leaderboard/` but the records is derived, nothing is typed in."""

from fer_bench.leaderboard.board import build, compute, read_board, render, show
from fer_bench.leaderboard.compare import Comparison, compare
from fer_bench.leaderboard.latency import measure_latency
from fer_bench.leaderboard.verify import VerifyResult, verify, verify_weights

__all__ = [
    "Comparison",
    "VerifyResult",
    "build",
    "compare",
    "compute",
    "measure_latency",
    "read_board",
    "render",
    "show",
    "verify",
    "verify_weights",
]
