"""What a step of a method costs, in the arithmetic that torch counts: true on every machine, however busy."""

import pytest
import torch
from ranks import batch_of, share_of
from torch.utils.flop_counter import FlopCounterMode

from distunlearn.config import EngineConfig, StageConfig
from distunlearn.engine.network import Network
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import take_step
from distunlearn.engine.updates import build_updates
from distunlearn.methods import Confound, JointConfig, MethodConfig, UnlearningConfig, phases_of
from distunlearn.models import DomainHeadConfig, DomainHeads, HeadConfig, TaskHead, VggConfig, build_encoder
from distunlearn.tasks import Regression, RegressionConfig

SHAPE = (16, 16, 8)


def counted(method: MethodConfig, *, distinct: bool) -> int:
    """FLOPs of one step."""
    encoder = build_encoder(VggConfig(channels=(8, 8), features=8), SHAPE).double()
    heads = {
        "task_head": TaskHead(HeadConfig(hidden=4), 8, 1),
        "domain_head": DomainHeads(DomainHeadConfig(hidden=4), (8,), 3),
    }
    task = Regression(RegressionConfig(), torch.zeros(1), torch.ones(1))
    parts = {"encoder": encoder} | {name: head.double() for name, head in heads.items()}
    net = Network(parts, task, {"site": Confound.site(3)}, ("age", "sex"))
    main, other = (share_of(batch_of(0, 6, seed=seed, shape=SHAPE), torch.arange(6)) for seed in (0, 1))
    updates = build_updates(StageConfig(name="s", method=method), net, Runtime(EngineConfig()))
    scans = {"main": main, "unlearn": other if distinct else main}
    with FlopCounterMode(display=False) as counter:
        take_step(net, phases_of(method), scans, updates)
    return counter.get_total_flops()


@pytest.mark.parametrize(("distinct", "joint"), [(False, (0.40, 0.47)), (True, (0.80, 0.90))])
def test_joint_saves_more_than_half_where_the_task_and_the_unlearning_share_their_scans(
    distinct: bool, joint: tuple[float, float]
) -> None:
    """One forward and backward pass in place of three and two; with an X_u of its own, of both sets, which no method spares."""
    paper = counted(UnlearningConfig(share_forward=False), distinct=distinct)
    assert joint[0] < counted(JointConfig(), distinct=distinct) / paper < joint[1]
    assert 0.80 < counted(UnlearningConfig(), distinct=distinct) / paper < 0.90
