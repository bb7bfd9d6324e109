"""What moto's CloudFormation lacks of the public API: API Gateway's resources, kept as the template resolves them, and
outputs and parameters of a stack that a change set made or changed.

What a request would meet is in fake_api_gateway.py.
"""

from __future__ import annotations

import secrets

from moto.cloudformation import parsing
from moto.cloudformation.models import ChangeSet
from moto.core.common_models import CloudFormationModel

TYPES = ("Api", "Route", "Integration", "Stage")
# What there is now: the properties of each, by type and id.
held: dict[str, dict[str, dict]] = {name: {} for name in TYPES}


def _model(name: str) -> type:
    """A class of moto's for the type."""

    def create(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        made = cls()
        made.physical_resource_id = secrets.token_hex(5)
        held[name][made.physical_resource_id] = cloudformation_json["Properties"]
        return made

    def update(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        held[name][original_resource.physical_resource_id] = cloudformation_json["Properties"]
        return original_resource

    def delete(cls, resource_name, cloudformation_json, account_id, region_name):
        held[name].pop(resource_name)

    return type(
        f"Recorded{name}",
        (CloudFormationModel,),  # moto finds its direct subclasses
        {
            "cloudformation_name_type": staticmethod(lambda: ""),
            "cloudformation_type": staticmethod(lambda: f"AWS::ApiGatewayV2::{name}"),
            "create_from_cloudformation_json": classmethod(create),
            "update_from_cloudformation_json": classmethod(update),
            "delete_from_cloudformation_json": classmethod(delete),
            "has_cfn_attr": classmethod(lambda cls, attribute: False),
            "is_created": lambda self: True,
        },
    )


_MODELS = [_model(name) for name in TYPES]
parsing.get_model_map.cache_clear()
parsing.get_name_type_map.cache_clear()


def _apply(self: ChangeSet) -> None:
    """Carry a change set out; moto misses parameters that come in through a condition, and sets no outputs."""
    _moto_apply(self)
    resources = self.stack.resource_map
    for name, about in self.template_dict["Resources"].items():
        if about["Type"].startswith("AWS::ApiGatewayV2::"):
            parsing.parse_and_update_resource(name, about, resources, resources._account_id, resources._region_name)
    self.stack.template_dict, self.stack.parameters = self.template_dict, self.parameters
    self.stack.output_map = self.stack._create_output_map()


_moto_apply, ChangeSet.apply = ChangeSet.apply, _apply
