"""Refusals, cold starts and failed updates: the endpoint that served before a deployment serves again."""

from __future__ import annotations

import itertools
import random

import fake_sagemaker_refusals
import pytest
from fake_sagemaker_account import MACHINES, NAME, SERVERLESS
from moto.sagemaker.models import sagemaker_backends

from plantdoc.core.errors import UserError
from plantdoc.sagemaker import configs, deployment, quotas, scaling, teardown

pytest_plugins = ["sagemaker_fixtures"]
OTHER = MACHINES | {"instance_type": "ml.m5.large"}
KINDS = {"serverless": SERVERLESS, "machines": MACHINES, "other machines": OTHER}
FAILURES = ("quota", "capacity", "code", "answers", "never warm", "alarm")


def config(world) -> dict:
    """The variant that is served."""
    name = world.sagemaker.describe_endpoint(EndpointName=NAME)["EndpointConfigName"]
    (variant,) = world.sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
    return variant


def looked_after(world) -> None:
    """What serves has its alarms and autoscaling if it has instances, and none if it has not."""
    there = {kind: len(names) for kind, names in world.present().items()}
    watched = {"targets": 1, "policies": 1, "alarms": 2} if "InstanceType" in config(world) else {}
    assert {kind: there[kind] for kind in ("targets", "policies", "alarms") if kind in there} == watched


def spoil(world, failure: str, aim: dict) -> None:
    """Have the next deployment with the settings `aim` fail; its bundle becomes the workspace's."""
    there = world.aws.sagemaker
    world.holds(world.stock.better())
    if failure == "quota" and aim["serverless"]:
        there.quotas.memory = 1024
    elif failure == "quota":
        there.quotas.others = 0
    elif failure == "capacity":
        there.no_capacity = 1
    elif failure == "code":
        world.holds(world.stock.dead())
    elif failure == "answers":
        world.holds(world.stock.wrong())
    elif failure == "never warm":
        there.cold = ("not ready",) * 1000
    else:
        there.before_the_end = lambda: world.alarm("ALARM")


# Two failures for each change, all of them in turn; alarms watch updates between instances alone.
CASES = [
    pytest.param(before, after, failure, id=f"{before} to {after}, {failure}", marks=pytest.mark.full)
    for number, (before, after) in enumerate(itertools.product(("serverless", "machines"), KINDS))
    for failure in (
        FAILURES[number % 5],
        "alarm" if "serverless" not in (before, after) else FAILURES[(number + 2) % 5],
    )
]


@pytest.mark.parametrize(("before", "after", "failure"), CASES)
def test_what_served_before_serves_again(world, before, after, failure):
    drawn = random.Random(f"{before}{after}{failure}")
    cold = tuple(drawn.choices(["not ready", "timed out"], k=drawn.randrange(4)))
    world.aws.sagemaker.cold = cold
    made = world.deploy(world.stock.good, **KINDS[before])
    served = config(world)
    spoil(world, failure, KINDS[after])
    with pytest.raises(UserError) as error:
        world.deploy(replace=True, **KINDS[after])
    world.aws.sagemaker.renew()
    assert "serves again" in str(error.value) or "serves on" in str(error.value), error.value
    assert config(world) == served and world.answered_by() == made["version"]
    looked_after(world)
    kept = world.present()
    assert len(kept["configs"]) == len(kept["models"]) == 1, "of what failed nothing is left"
    # It is no obstacle for the next one, nor for the way back from that.
    world.aws.sagemaker.cold = cold
    assert world.deploy(world.stock.better(), replace=True, **KINDS[after])["version"] == world.answered_by()
    looked_after(world)
    world.aws.sagemaker.cold = cold
    back = deployment.rollback(world.context(), world.settings(**KINDS[after]), replace=True)
    world.aws.sagemaker.renew()
    assert back.version == made["version"] == world.answered_by() and config(world) == served
    looked_after(world)


@pytest.mark.slow
def test_the_default_fits_a_new_account_and_more_memory_is_refused_with_the_remedy(world):
    settings = world.settings(check_pictures=3)
    assert settings.serve.memory_mb <= fake_sagemaker_refusals.Quotas().memory
    version = deployment.deploy(world.context(), settings, None)["version"]
    with pytest.raises(UserError, match=r"(?s)is 3072 MBs.*Set serve\.memory_mb .*to 3072 or less.*Quotas.*serves on"):
        world.deploy(memory_mb=4096)
    assert world.answered_by() == version and len(world.present()["configs"]) == 1
    world.aws.sagemaker.quotas.memory = 4096
    assert world.deploy(memory_mb=4096)["version"] == version
    assert teardown.remove(world.context(), NAME) == []
    with pytest.raises(UserError, match=r"to 4096 or less.*\n.*nothing was served before"):
        world.deploy(memory_mb=5120)
    assert world.present() == {}


@pytest.mark.full
def test_quotas_of_concurrency_instances_and_endpoints_have_remedies_of_their_own(world):
    there = world.aws.sagemaker
    there.quotas.concurrency = 4
    with pytest.raises(UserError, match=r"is 4 Units.*lower serve\.concurrency"):
        world.deploy(world.stock.good)
    there.quotas.instances = {"ml.c6i.large": 0}
    with pytest.raises(UserError, match=r"is 0 Instances.*Set another serve\.instance_type") as error:
        world.deploy(world.stock.good, **MACHINES)
    assert "twice" not in str(error.value) and world.present() == {}
    there.quotas.instances = {"ml.c6i.large": 1}
    world.deploy(world.stock.good, **MACHINES)
    # Blue/green: the new one is there before the old one goes.
    with pytest.raises(UserError, match=r"ml\.c6i\.large for endpoint usage.*to hold both: twice serve\.min_instances"):
        world.deploy(world.stock.better(), **MACHINES)
    looked_after(world)
    there.limit = 1
    with pytest.raises(UserError, match=r"Number of endpoints.*`make endpoints` lists ours"):
        world.deploy(endpoint="plant-disease-second")


@pytest.mark.full
@pytest.mark.parametrize(("earlier", "now"), [("machines", "other machines"), ("serverless", "machines")])
def test_a_rollback_that_is_refused_leaves_what_is_served(world, earlier, now):
    good = world.deploy(world.stock.good, **KINDS[earlier])["version"]
    better = world.deploy(world.stock.better(), **KINDS[now])["version"]
    served = config(world)
    world.aws.sagemaker.quotas.memory, world.aws.sagemaker.quotas.instances = 1024, {"ml.c6i.large": 0}
    if earlier == "serverless":
        world.aws.sagemaker.quotas.instances = {}
    settings = world.settings(**KINDS[now])
    with pytest.raises(UserError, match=rf"(?s)AWS refused.*{better} serves"):
        deployment.rollback(world.context(), settings, replace=True)
    assert world.answered_by() == better and config(world) == served
    looked_after(world)
    assert not any(each.withdrawn for each in configs.all_of(world.context(), NAME))
    world.aws.sagemaker.renew()
    assert deployment.rollback(world.context(), settings, replace=True).version == good == world.answered_by()


def test_a_quota_without_a_name_has_a_remedy_too():
    assert quotas.remedy("You have exceeded a limit", update=False).startswith("Request an increase in the console")
    assert "Lower what is asked for" in quotas.remedy("The account-level service limit 'Tags' is 3", update=False)


@pytest.mark.full
def test_a_cold_endpoint_is_waited_for(world):
    world.aws.sagemaker.cold = ("not ready", "throttled", "unavailable", "timed out", "not ready")
    made = world.deploy(world.stock.good)
    assert made["smoke"]["differences"] == 0 and made["smoke"]["pictures"] == 3
    assert sum(world.clock.waits) < 120 and len(world.asked("InvokeEndpoint")) > 7
    with pytest.raises(Exception, match="has oversize body"):
        world.aws.client("sagemaker-runtime").invoke_endpoint(EndpointName=NAME, Body=bytes(5_000_000))
    world.aws.sagemaker.cold = ("timed out",) * 2
    world.deploy(world.stock.better())
    world.aws.sagemaker.cold = ("timed out",) * 2
    assert deployment.rollback(world.context(), world.settings()).version == made["version"]


@pytest.mark.full
def test_one_that_stays_cold_is_a_fault_after_five_minutes(world):
    world.aws.sagemaker.cold = ("not ready",) * 1000
    with pytest.raises(UserError, match=r"no answer after 5 minutes: ModelNotReadyException"):
        world.deploy(world.stock.good)
    assert 270 < sum(world.clock.waits) < 330
    assert world.present() == {}


@pytest.mark.full
def test_a_warm_one_that_times_out_is_a_fault(world):
    world.aws.sagemaker.later = ("answer", "timed out")
    with pytest.raises(UserError, match="timed out while waiting for a response"):
        world.deploy(world.stock.good)


@pytest.mark.full
@pytest.mark.parametrize("moment", ["before the update", "during it", "during one that fails"])
def test_autoscaling_is_back_after_an_interrupt(world, monkeypatch, moment):
    world.deploy(world.stock.good, **MACHINES)
    name = "update" if moment == "before the update" else "settled"
    looked = iter((False, True))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    from plantdoc.sagemaker import endpoint_lifecycle, rollout

    settled = endpoint_lifecycle.settled
    if name == "update":
        monkeypatch.setattr(rollout, "update", interrupted)
    else:
        monkeypatch.setattr(
            endpoint_lifecycle, "settled", lambda *given: interrupted() if next(looked) else settled(*given)
        )
    world.aws.sagemaker.no_capacity = int(moment == "during one that fails")
    with pytest.raises(KeyboardInterrupt):
        world.deploy(world.stock.better(), **OTHER)
    monkeypatch.undo()
    for key, value in world.aws.environment().items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(world.folder)
    if moment == "before the update":
        looked_after(world)
        return
    # The gate refuses the next: the endpoint is looked after all the same.
    world.holds(world.stock.variant("poor", map50=0.1, map50_low=0.05, map50_high=0.15))
    with pytest.raises(UserError, match=r"min_map50"):
        world.deploy(**OTHER)
    looked_after(world)


@pytest.mark.full
def test_another_instance_type_takes_autoscaling_off_for_the_update_and_keeps_the_alarms(world):
    world.deploy(world.stock.good, **MACHINES)
    calls = len(world.aws.calls)
    world.deploy(world.stock.better(), **OTHER)
    changes = [
        call.action for call in world.aws.calls[calls:] if not call.action.startswith(("Describe", "List", "Invoke"))
    ]
    order = ["DeleteScalingPolicy", "DeregisterScalableTarget", "UpdateEndpoint", "RegisterScalableTarget"]
    assert [each for each in changes if each in order] == order and "DeleteAlarms" not in changes
    # A new model alone needs none of it.
    calls = len(world.aws.calls)
    world.deploy(world.stock.good, **OTHER)
    assert "DeregisterScalableTarget" not in {call.action for call in world.aws.calls[calls:]}


@pytest.mark.full
def test_the_stand_in_refuses_another_instance_type_under_autoscaling(world):
    world.deploy(world.stock.good, **MACHINES)
    world.deploy(world.stock.better(), **OTHER)
    earlier = next(
        each
        for each in sagemaker_backends["123456789012"]["eu-central-1"].endpoint_configs.values()
        if each.production_variants[0]["InstanceType"] == "ml.c6i.large"
    )
    update = {"EndpointName": NAME, "EndpointConfigName": earlier.endpoint_config_name}
    with pytest.raises(Exception, match="instance type of a variant registered with autoscaling"):
        world.sagemaker.update_endpoint(**update)
    scaling.detach(world.context(), NAME)
    world.sagemaker.update_endpoint(**update)
