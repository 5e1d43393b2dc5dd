from serving.api.connections import PatientProtocol, protocol_of
from serving.api.limits import Allowed


def test_the_limit_on_sending_is_the_protocols_and_without_an_api_the_protocol_has_its_own() -> None:
    assert protocol_of(Allowed.of(["send_seconds=3"])).taking_seconds == 3
    assert protocol_of(None) is PatientProtocol and PatientProtocol.header_seconds == 20
