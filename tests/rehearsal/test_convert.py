"""Properties become parameters by AWS's own model, and what AWS would refuse is refused."""

import boto3
import pytest
from botocore.model import StructureShape

from rehearsal.aws.convert import parameters, violations
from rehearsal.protocol import ProviderError


def _shape(service: str, operation: str) -> StructureShape:
    client = boto3.client(service, region_name="me-central-1")
    return client.meta.service_model.operation_model(operation).input_shape


def test_spelling_leads_to_nested_parameters() -> None:
    given = {
        "name": "one",
        "roleArn": "arn:aws:iam::111122223333:role/one",
        "vpcConfig": {"subnetIds": ["subnet-1"], "endpointPublicAccess": False},
        "encryptionConfig": {"provider": {"keyArn": "arn:aws:kms:x"}, "resources": ["secrets"]},
    }
    found = parameters(_shape("eks", "CreateCluster"), given, {"vpcConfig": "resourcesVpcConfig"})
    assert found["resourcesVpcConfig"] == {"subnetIds": ["subnet-1"], "endpointPublicAccess": False}
    assert found["encryptionConfig"] == [{"provider": {"keyArn": "arn:aws:kms:x"}, "resources": ["secrets"]}]


def test_a_property_that_aws_does_not_know_is_refused() -> None:
    with pytest.raises(ProviderError, match=r"AWS knows no vpcConfig\.subnets"):
        parameters(_shape("eks", "CreateCluster"), {"vpcConfig": {"subnets": []}}, {"vpcConfig": "resourcesVpcConfig"})


def test_texts_become_what_the_model_says() -> None:
    found = parameters(
        _shape("ec2", "CreateLaunchTemplate").members["LaunchTemplateData"],
        {"blockDeviceMappings": [{"ebs": {"encrypted": "true", "volumeSize": 20}}]},
        {},
    )
    assert found["BlockDeviceMappings"] == [{"Ebs": {"Encrypted": True, "VolumeSize": 20}}]


@pytest.mark.parametrize(
    ("service", "operation", "request_", "wrong"),
    [
        ("iam", "CreateRole", {"RoleName": "r" * 65}, "RoleName has 65 characters, and at most 64 may be"),
        ("iam", "CreateRole", {"RoleName": "a b"}, "RoleName is 'a b', and must match"),
        ("eks", "CreateNodegroup", {"capacityType": "CHEAP"}, "capacityType is 'CHEAP', and must be one of"),
        ("kms", "CreateKey", {"Description": "fine"}, None),
    ],
)
def test_what_botocore_lets_pass_is_held_against_the_model(
    service: str, operation: str, request_: dict[str, str], wrong: str | None
) -> None:
    found = list(violations(_shape(service, operation), request_))
    if wrong is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(wrong)
