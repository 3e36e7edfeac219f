from zt_async.stack.tcp.hystart import HyStart

MSS = 2728


def rounds(hystart: HyStart, rtts: list[float], *, per_round: int = 4) -> list[int]:
    """Growth in each round, for round trips that are the same throughout a round."""
    grown = []
    ack = 0
    for rtt in rtts:
        nxt = ack + per_round * MSS
        total = 0
        for _ in range(per_round):
            ack += MSS
            total += hystart.growth(MSS, ack, nxt + per_round * MSS, rtt)
        grown.append(total)
    return grown


def test_a_steady_round_trip_lets_slow_start_run():
    hystart = HyStart()
    assert rounds(hystart, [0.050] * 20) == [4 * MSS] * 20
    assert not hystart.finished


def test_a_growing_round_trip_slows_growth_and_ends_slow_start_after_five_rounds():
    hystart = HyStart()
    grown = rounds(hystart, [0.050, 0.050, *[0.080] * 8])
    assert grown[1] == 4 * MSS
    assert grown[4] == MSS
    assert hystart.finished


def test_a_round_trip_that_falls_back_resumes_slow_start():
    hystart = HyStart()
    rounds(hystart, [0.050, 0.050, 0.080, 0.080])
    assert rounds(hystart, [0.050, 0.050])[-1] == 4 * MSS
    assert not hystart.finished


def test_growth_below_the_threshold_is_jitter():
    hystart = HyStart()
    assert rounds(hystart, [0.010, 0.012, 0.013, 0.014, 0.015])[-1] == 4 * MSS


def test_too_few_samples_decide_nothing():
    hystart = HyStart()
    assert rounds(hystart, [0.010, 0.100, 0.200], per_round=2) == [2 * MSS] * 3
