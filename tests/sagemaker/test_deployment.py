"""Serving on SageMaker from the first version to none, on moto and containers started from what was uploaded."""

from __future__ import annotations

import json

import fake_sagemaker_account
import pytest
from fake_sagemaker_account import MACHINES, NAME, SERVERLESS

from plantdoc.core.errors import UserError
from plantdoc.sagemaker import deployment, listing, quality_gate, teardown

pytest_plugins = ["sagemaker_fixtures"]


@pytest.mark.slow
def test_better_model_is_served_the_one_before_put_back_and_all_removed(world):
    first = world.deploy(world.stock.good)
    assert first["smoke"]["differences"] == 0 and first["smoke"]["pictures"] == 3
    assert world.answered_by() == first["version"]
    second = world.deploy(world.stock.better())
    assert world.answered_by() == second["version"] != first["version"]
    assert len(world.asked("CreateEndpoint")) == 1 and len(world.asked("UpdateEndpoint")) == 1
    world.holds(world.stock.variant("poor", map50=0.1, map50_low=0.05, map50_high=0.15))
    assert "serve.min_map50 asks for 0.2" in world.run("deploy", code=3)
    assert deployment.rollback(world.context(), world.settings(**SERVERLESS)).version == first["version"]
    assert world.answered_by() == first["version"]
    assert f"nothing is left of {NAME}" in world.run("undeploy")
    assert world.present() == {}
    assert not (world.folder / "results/deploy/endpoint.json").exists()


@pytest.mark.full
def test_one_that_answers_wrongly_gives_way_to_the_one_before(world):
    first = world.deploy(world.stock.good)
    with pytest.raises(UserError, match=f"failed its smoke test.*\n.*\n(.*\n)*{first['version']} serves again"):
        world.deploy(world.stock.wrong())
    assert world.answered_by() == first["version"]
    kept = world.present()
    assert len(kept["configs"]) == len(kept["models"]) == 1, "the wrong one's are gone"


@pytest.mark.full
def test_a_first_one_that_answers_wrongly_is_taken_away_again(world):
    with pytest.raises(UserError, match="nothing was served before, so the endpoint was deleted"):
        world.deploy(world.stock.wrong())
    assert world.present() == {}


@pytest.mark.full
def test_the_version_before_can_be_put_back_and_the_one_before_that(world):
    first, second = (world.deploy(archive) for archive in (world.stock.good, world.stock.better()))
    good, better = first["version"], second["version"]
    third = world.deploy(world.stock.good, memory_mb=3072)
    assert third["version"] == good and world.answered_by() == good
    assert deployment.rollback(world.context(), world.settings()).version == better
    assert world.answered_by() == better
    assert deployment.rollback(world.context(), world.settings()).version == good
    assert world.answered_by() == good
    with pytest.raises(UserError, match="no earlier version is kept"):
        deployment.rollback(world.context(), world.settings())
    # What was rolled back is not gone back to, but can be served again, and then counts as the newest.
    assert world.deploy(world.stock.better())["version"] == better
    assert deployment.rollback(world.context(), world.settings()).name == first["config"] != third["config"]
    assert len(world.asked("CreateEndpoint")) == 1


@pytest.mark.full
def test_as_many_versions_are_kept_as_the_param_says(world):
    world.aws.sagemaker.quotas.memory = 4096
    for memory in (1024, 2048, 3072, 4096):
        world.deploy(world.stock.good, memory_mb=memory, keep_versions=2)
    memories = [
        world.sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"][0]["ServerlessConfig"]
        for name in world.present()["configs"]
    ]
    assert {each["MemorySizeInMB"] for each in memories} == {2048, 3072, 4096}
    assert len(world.present()["models"]) == 1, "they serve one model"


@pytest.mark.full
def test_what_is_there_is_left_and_what_is_gone_is_put_back(world):
    world.deploy(world.stock.good, **MACHINES)
    there, calls = world.present(), len(world.aws.calls)
    world.deploy(world.stock.good, **MACHINES)
    changes = {call.action for call in world.aws.calls[calls:] if not call.action.startswith(("Describe", "List"))}
    assert changes == {"InvokeEndpoint", "PutMetricAlarm", "RegisterScalableTarget", "PutScalingPolicy"}
    # One by one, and all at once.
    world.aws.client("cloudwatch").delete_alarms(AlarmNames=[f"{NAME}-errors"])
    which = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
    world.aws.client("application-autoscaling").deregister_scalable_target(
        ResourceId=f"endpoint/{NAME}/variant/detector", **which
    )
    world.deploy(world.stock.good, **MACHINES)
    assert world.present() == there
    world.sagemaker.delete_endpoint(EndpointName=NAME)
    with pytest.raises(Exception, match="Could not find"):
        world.sagemaker.describe_endpoint(EndpointName=NAME)
    (config,), (model,) = there["configs"], there["models"]
    world.sagemaker.delete_endpoint_config(EndpointConfigName=config)
    world.sagemaker.delete_model(ModelName=model)
    world.deploy(world.stock.good, **MACHINES)
    assert world.present() == there and world.answered_by().startswith("bundle-")


@pytest.mark.full
def test_an_endpoint_with_machines_is_scaled_watched_and_captured(world):
    world.deploy(
        world.stock.good, **MACHINES, min_instances=2, max_instances=5, invocations_per_instance=90, capture_percent=20
    )
    (target,) = world.asked("RegisterScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 5)
    (policy,) = world.asked("PutScalingPolicy")
    asked = policy["TargetTrackingScalingPolicyConfiguration"]
    assert asked["TargetValue"] == 90
    assert asked["PredefinedMetricSpecification"] == {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    (config,) = world.asked("CreateEndpointConfig")
    (variant,) = config["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c6i.large", 2)
    assert config["DataCaptureConfig"]["InitialSamplingPercentage"] == 20
    assert config["DataCaptureConfig"]["DestinationS3Uri"] == f"s3://leaves/capture/{NAME}"
    (row,) = listing.endpoints(world.context())
    assert (row["name"], row["status"], row["kind"]) == (NAME, "InService", "2 × ml.c6i.large")
    assert row["dollars_a_day"] == pytest.approx(24 * 2 * 0.102) and "a table of" in row["price"]
    world.deploy(world.stock.better(), **MACHINES)
    (update,) = world.asked("UpdateEndpoint")
    assert update["RetainAllVariantProperties"], "what autoscaling has added stays"
    assert update["ExcludeRetainedVariantProperties"] == [{"VariantPropertyType": "DataCaptureConfig"}]
    alarms = update["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    assert sorted(each["AlarmName"] for each in alarms) == world.present()["alarms"]
    watched = {
        (each["Namespace"], each["MetricName"], each["Dimensions"][0]["Value"])
        for each in world.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    }
    assert watched == {("AWS/SageMaker", name, NAME) for name in ("Invocation5XXErrors", "ModelLatency")}
    assert teardown.remove(world.context(), NAME) == [] and world.present() == {}


@pytest.mark.full
def test_an_alarm_undoes_an_update_and_one_that_was_on_before_does_not(world):
    good = world.deploy(world.stock.good, **MACHINES)["version"]
    world.aws.sagemaker.before_the_end = lambda: world.alarm("ALARM")
    with pytest.raises(UserError, match=f"{NAME}-bundle-.* serves on .*alarms are in ALARM"):
        world.deploy(world.stock.better(), **MACHINES)
    assert world.answered_by() == good and len(world.present()["configs"]) == 1
    # It rings on: the mended version would be undone too, if it were asked.
    better = world.deploy(world.stock.better(), **MACHINES)
    assert world.answered_by() == better["version"]
    assert "AutoRollbackConfiguration" not in world.asked("UpdateEndpoint")[-1]["DeploymentConfig"]


@pytest.mark.full
def test_serverless_becomes_real_time_and_the_way_back_is_asked_for(world):
    good = world.deploy(world.stock.good)["version"]
    made = world.deploy(world.stock.better(), **MACHINES)
    assert made["kind"] == "real-time" and len(world.asked("UpdateEndpoint")) == 1
    with pytest.raises(UserError, match="--replace takes it away"):
        world.deploy(world.stock.better())
    with pytest.raises(UserError, match="--replace takes it away"):
        deployment.rollback(world.context(), world.settings())
    assert world.answered_by() == made["version"]
    assert deployment.rollback(world.context(), world.settings(), replace=True).version == good
    assert world.answered_by() == good
    assert not {"alarms", "targets", "policies"} & set(world.present())
    with pytest.raises(UserError, match="capture_percent = 5: SageMaker captures nothing of a serverless"):
        world.deploy(capture_percent=5)


@pytest.mark.full
def test_code_that_does_not_start_leaves_what_was_served(world):
    with pytest.raises(UserError, match=r"(?s)could not start .*no_such_module.*the endpoint was deleted"):
        world.deploy(world.stock.dead())
    assert world.present() == {}
    good = world.deploy(world.stock.good)["version"]
    with pytest.raises(UserError, match=r"(?s)serves on .*no_such_module"):
        world.deploy(world.stock.dead())
    assert world.answered_by() == good and len(world.present()["models"]) == 1


@pytest.mark.full
def test_what_is_not_ours_is_left_alone(world):
    client = world.sagemaker
    world.deploy(world.stock.good)
    (config,) = world.present()["configs"]
    about = client.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    client.create_endpoint_config(EndpointConfigName=f"{NAME}-of-others", ProductionVariants=about)
    for name in ("plant-disease-of-others", "others"):
        client.create_endpoint(EndpointName=name, EndpointConfigName=f"{NAME}-of-others")
        while client.describe_endpoint(EndpointName=name)["EndpointStatus"] != "InService":
            pass
    with pytest.raises(UserError, match="not made by this project"):
        world.deploy(endpoint="plant-disease-of-others")
    with pytest.raises(UserError, match="not made by this project"):
        teardown.remove(world.context(), "plant-disease-of-others")
    # The others' config uses our model, which AWS keeps for it.
    world.aws.calls.clear()
    with pytest.raises(Exception, match="in use by"):
        teardown.remove(world.context(), NAME)
    assert world.present()["endpoints"] == ["others", "plant-disease-of-others"]
    assert world.present()["configs"] == [f"{NAME}-of-others"]


@pytest.mark.full
def test_the_gate_refuses_with_a_code_of_its_own_and_can_be_passed(world):
    poor = world.stock.variant("poor", map50=0.1, map50_low=0.05, map50_high=0.15)
    world.holds(poor)
    said = world.run("deploy", code=3)
    (line,) = said.splitlines()
    assert line.startswith("deploy: bundle-") and "serve.min_map50 asks for 0.2" in line and "--force" in line
    assert not [call for call in world.aws.calls if call.action.startswith(("Create", "Update"))]
    assert not world.aws.client("s3").list_objects_v2(Bucket="leaves").get("Contents")
    assert world.deploy(poor, force=True)["scores"]["map50"] == 0.1
    # The one that is served is the measure for the next.
    world.deploy(world.stock.better())
    with pytest.raises(quality_gate.Refusal, match=r"is 0\.250 below the live model's 0\.950"):
        world.deploy(world.stock.variant("worse", map50=0.7, map50_low=0.65, map50_high=0.75))
    assert world.deploy(world.stock.good, memory_mb=1024)["scores"]["map50"] == 0.9, "the intervals explain that"


@pytest.mark.full
def test_busy_servers_are_asked_again_and_limits_are_told(world):
    good = world.deploy(world.stock.good)
    world.aws.sagemaker.unavailable = 2
    assert world.deploy()["smoke"]["differences"] == 0
    world.aws.sagemaker.limit = 1
    with pytest.raises(Exception, match="account-level service limit"):
        world.deploy(endpoint="plant-disease-second")
    assert world.answered_by() == good["version"]


@pytest.mark.full
def test_killed_in_the_middle_the_next_run_takes_it_up(world):
    world.aws.sagemaker.frozen = True
    process = world.start("deploy")
    for line in process.stdout:
        if "Creating" in line:
            break
    fake_sagemaker_account.kill(process)
    world.aws.sagemaker.frozen = False
    said = world.run("deploy")
    assert "3 test pictures answered as by results/evaluate/predictions.json" in said
    assert [len(world.asked(f"Create{what}")) for what in ("Model", "EndpointConfig", "Endpoint")] == [1, 1, 1]
    record = json.loads((world.folder / "results/deploy/endpoint.json").read_text())
    assert record["version"] == world.answered_by()
    # And the end of it, as a person sees it.
    table = world.run("endpoints").splitlines()
    assert NAME in table[1] and record["version"] in table[1] and "InService" in table[1] and table[1].endswith("0.00")
    assert "nothing is left of plant-disease-detector" in world.run("undeploy")
    assert world.present() == {}
    assert "no endpoint in eu-central-1" in world.run("endpoints")


@pytest.mark.full
def test_a_rollback_that_was_interrupted_goes_no_further_back(world):
    for memory in (1024, 2048, 3072):
        last = world.deploy(memory_mb=memory)
    world.aws.sagemaker.frozen = True
    process = world.start("rollback")
    for line in process.stdout:
        if "Updating" in line:
            break
    fake_sagemaker_account.kill(process)
    under_way = world.sagemaker.describe_endpoint(EndpointName=NAME)["PendingDeploymentSummary"]["EndpointConfigName"]
    world.aws.sagemaker.frozen = False
    assert deployment.rollback(world.context(), world.settings()).name == under_way != last["config"]
    assert world.sagemaker.describe_endpoint(EndpointName=NAME)["EndpointConfigName"] == under_way
    assert len(world.asked("UpdateEndpoint")) == 3


@pytest.mark.full
def test_a_registered_version_is_brought_by_dvc_with_what_it_is_held_against(world, monkeypatch):
    # A repository whose tag has the bundle; the workspace has another one, and no predictions.
    fake_sagemaker_account.register(world, "detector@v1.2.0")
    world.holds(world.stock.better())
    (world.folder / "results/evaluate/predictions.json").unlink()
    said = world.run("deploy", "detector@v1.2.0")
    assert "serves detector@v1.2.0" in said
    assert "3 test pictures answered as by results/evaluate/predictions.json" in said
    assert world.answered_by() == "detector@v1.2.0"
    (config,) = world.present()["configs"]
    assert config.startswith(f"{NAME}-detector-v1-2-0-")
    # The workspace's own, now without predictions, is asked here: it answers as it does there.
    made = world.deploy(force=True)
    assert made["smoke"]["against"] == "the bundle on this machine" and made["smoke"]["differences"] == 0
    # The public API goes with the endpoint.
    about = {"Resources": {"Log": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "api"}}}}
    world.aws.client("cloudformation").create_stack(StackName="plant-disease-api", TemplateBody=json.dumps(about))
    said = world.run("undeploy")
    assert "deleted the stack plant-disease-api" in said and "nothing is left of plant-disease-detector" in said
    assert world.present() == {}
    assert "nothing is left" in world.run("undeploy"), "a second time it finds nothing to do"


@pytest.mark.full
def test_the_trial_on_aws_leaves_nothing_but_what_was_there(world):
    world.deploy(world.stock.good)
    there = world.present()
    record = (world.folder / "results/deploy/endpoint.json").read_text()
    said = world.run_script("sagemaker_smoke.py", "--memory", "1024")
    assert "answered 3 pictures as by results/evaluate/predictions.json" in said and "at most $0.000" in said
    assert said.splitlines()[-2].endswith("no endpoint, config or model of it is left")
    (name,) = {each["EndpointName"] for each in world.asked("CreateEndpoint")} - {NAME}
    assert name.startswith("plant-disease-smoke-")
    assert world.present() == there
    assert (world.folder / "results/deploy/endpoint.json").read_text() == record
    # One that fails is told, and leaves nothing either.
    world.holds(world.stock.wrong())
    said = world.run_script("sagemaker_smoke.py", code=1)
    assert "failed its smoke test" in said and "no endpoint, config or model of it is left" in said
    assert world.present() == there


@pytest.mark.full
def test_ctrl_c_while_waiting_is_taken_up_too(world):
    world.aws.sagemaker.frozen = True
    process = world.start("deploy")
    for line in process.stdout:
        if "Creating" in line:
            break
    fake_sagemaker_account.interrupt(process)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "interrupted; AWS continues; run it again to attach" in rest
    world.aws.sagemaker.frozen = False
    # Another version waits for the one that is under way, which nobody has tried, and takes its place.
    assert world.deploy(world.stock.better())["version"] == world.answered_by()
    assert (len(world.asked("CreateEndpoint")), len(world.asked("UpdateEndpoint"))) == (1, 1)
    assert len(world.present()["configs"]) == 1
