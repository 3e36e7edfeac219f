"""Data that arrived out of order (RFC 9293 section 3.10.7.4), as runs without gaps."""

from __future__ import annotations

from bisect import bisect_right

_OVERHEAD = 256  # what a piece costs besides its bytes
_MAX_RUNS = 1024


class _Run:
    """Pieces that follow each other."""

    __slots__ = ("end", "pieces", "start")

    def __init__(self, start: int, end: int, pieces: list[bytes]) -> None:
        self.start = start
        self.end = end
        self.pieces = pieces


class Assembler:
    """Bounded by the caller's window in bytes and overhead, and in the number of runs."""

    __slots__ = ("_recent", "memory", "runs")

    def __init__(self) -> None:
        self.runs: list[_Run] = []
        self._recent: list[_Run] = []  # the runs of the last reports, latest first
        self.memory = 0

    def add(self, seq: int, data: bytes, limit: int) -> bool:
        """Keep what of ``data`` is new; False when there is no room for it."""
        runs = self.runs
        end = seq + len(data)
        at = bisect_right(runs, seq, key=_start_of)
        if at and runs[at - 1].end >= seq:  # touches or overlaps the run before
            run = runs[at - 1]
            if run.end >= end:
                self._report(run)
                return True
            data = data[run.end - seq :]
            if not self._charge(len(data), limit):
                return False
            run.pieces.append(data)
            run.end = end
        else:
            if len(runs) >= _MAX_RUNS or not self._charge(len(data), limit):
                return False
            run = _Run(seq, end, [data])
            runs.insert(at, run)
            at += 1
        self._absorb(run, at)
        self._report(run)
        return True

    def take(self, seq: int) -> tuple[int, list[bytes]]:
        """The run that continues at ``seq``, now in order: where it ends, and its pieces."""
        runs = self.runs
        pieces: list[bytes] = []
        while runs and runs[0].start <= seq:
            run = runs.pop(0)
            self.memory -= run.end - run.start + _OVERHEAD * len(run.pieces)
            if run in self._recent:
                self._recent.remove(run)
            if run.end <= seq:
                continue
            joined = run.pieces if run.start == seq else [b"".join(run.pieces)[seq - run.start :]]
            pieces += joined
            seq = run.end
        return seq, pieces

    def blocks(self, count: int) -> list[tuple[int, int]]:
        """The runs to report in a SACK option (RFC 2018 section 4): the latest first."""
        chosen = self._recent[:count]
        for run in reversed(self.runs):
            if len(chosen) >= count:
                break
            if run not in chosen:
                chosen.append(run)
        return [(run.start, run.end) for run in chosen]

    def clear(self) -> None:
        self.runs.clear()
        self._recent.clear()
        self.memory = 0

    def _absorb(self, run: _Run, at: int) -> None:
        """Join ``run`` with the runs from index ``at`` on that it reaches."""
        runs = self.runs
        stop = at
        while stop < len(runs) and runs[stop].start <= run.end:
            following = runs[stop]
            if following.end <= run.end:  # wholly covered: the bytes are here twice, drop the older
                self.memory -= following.end - following.start + _OVERHEAD * len(following.pieces)
            else:
                overlap = run.end - following.start
                if overlap:
                    last = run.pieces[-1]
                    run.pieces[-1] = last[: len(last) - overlap]
                    self.memory -= overlap
                run.pieces += following.pieces
                run.end = following.end
            if following in self._recent:
                self._recent.remove(following)
            stop += 1
        del runs[at:stop]

    def _charge(self, size: int, limit: int) -> bool:
        cost = size + _OVERHEAD
        if self.memory + cost > limit:
            return False
        self.memory += cost
        return True

    def _report(self, run: _Run) -> None:
        if self._recent and self._recent[0] is run:
            return
        if run in self._recent:
            self._recent.remove(run)
        self._recent.insert(0, run)
        del self._recent[4:]


def _start_of(run: _Run) -> int:
    return run.start
