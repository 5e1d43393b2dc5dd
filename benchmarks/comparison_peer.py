"""The same comparisons by homomorphic encryption (DGK and Paillier), two parties: TNO's library, in a venv of its own.

Stands alone: `python benchmarks/comparison_peer.py SETTING`, after `pip install gmpy2
tno.mpc.protocols.secure_comparison==4.4.0` and `pip uninstall tno.mpc.communication`, which does not fit the rest and
is not needed. SETTING is JSON; prints rows of JSON. One party holds counts encrypted under the other's key, as an
aggregator would that adds up what clients encrypt; the bit is opened to both in the end.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

KEY_BITS, DGK_BITS = 2048, 160


def schemes(bits: int) -> tuple[Any, Any]:
    """Paillier's and DGK's, with the secret keys, as TNO's key holder makes them."""
    from tno.mpc.encryption_schemes.dgk import DGK  # type: ignore[import-not-found] # no dependency of ours
    from tno.mpc.encryption_schemes.paillier import Paillier  # type: ignore[import-not-found]
    from tno.mpc.encryption_schemes.utils import next_prime  # type: ignore[import-not-found]

    paillier = Paillier.from_security_parameter(key_length=KEY_BITS)
    dgk = DGK.from_security_parameter(
        v_bits=DGK_BITS, n_bits=KEY_BITS, u=next_prime(1 << (bits + 2)), full_decryption=False
    )
    return paillier, dgk


class Line:
    """Counts messages and waits for each as a line would make one wait."""

    def __init__(self, round_trip: float) -> None:
        self.half, self.messages = round_trip / 2, 0

    def __call__(self) -> None:
        self.messages += 1
        time.sleep(self.half)


def compare(counts: list[Any], least: int, bits: int, pair: tuple[Any, Any], line: Line) -> list[bool]:
    """Whether each encrypted count is `least` or more: all of them through each step, then one message for all."""
    from tno.mpc.protocols.secure_comparison import Initiator, KeyHolder  # type: ignore[import-not-found]

    paillier, dgk = pair
    least_encrypted = paillier.unsafe_encrypt(least)
    first = [Initiator.step_1(least_encrypted, count, bits, paillier) for count in counts]
    for z, _ in first:
        z.randomize()
    line()
    second = []
    for z, _ in first:
        z_plain, beta = KeyHolder.step_2(z, bits, paillier)
        d, betas = KeyHolder.step_4a(z_plain, dgk, paillier, bits), KeyHolder.step_4b(beta, bits, dgk)
        for each in (d, *betas):
            each.randomize()
        second.append((z_plain, d, betas))
    line()
    third = []
    for (_, r), (_, d, betas) in zip(first, second, strict=True):
        alpha = Initiator.step_3(r, bits)
        d = Initiator.step_4c(d, r, dgk, paillier)
        xors = Initiator.step_4d(alpha, betas)
        w, alpha_tilde = Initiator.step_4e(r, alpha, xors, d, paillier)
        w = Initiator.step_4f(w)
        s, delta_a = Initiator.step_4g()
        c = Initiator.step_4h(s, alpha, alpha_tilde, d, betas, w, delta_a, dgk)
        c = Initiator.step_4i(c, dgk, do_shuffle=True)
        for each in c:
            each.randomize()
        third.append((c, delta_a))
    line()
    fourth = []
    for (c, _), (z_plain, _, _) in zip(third, second, strict=True):
        said = KeyHolder.step_5(z_plain, bits, KeyHolder.step_4j(c, dgk), paillier)
        for each in said:
            each.randomize()
        fourth.append(said)
    line()
    found = []
    for (_, delta_a), (one, two, delta_b), (_, r) in zip(third, fourth, first, strict=True):
        found.append(Initiator.step_7(one, two, r, bits, Initiator.step_6(delta_a, delta_b), paillier))
        found[-1].randomize()
    line()
    bits_found = [bool(paillier.decrypt(each)) for each in found]
    line()
    return bits_found


def rows(setting: dict[str, Any]) -> list[dict[str, Any]]:
    bits = int(setting["clients"]).bit_length()
    pair, found = schemes(bits), []
    fewest, *more = setting["peer_counts"]
    cases = [(fewest, trip) for trip in setting["round_trips"]] + [(count, 0.0) for count in more]
    for count, round_trip in cases:
        first = setting["least"] - count // 2
        clear = [(first + each) % (setting["clients"] + 1) for each in range(count)]
        encrypted = [pair[0].encrypt(each) for each in clear]
        line = Line(round_trip)
        wall, cpu = time.perf_counter(), time.process_time()
        opened = compare(encrypted, setting["least"], bits, pair, line)
        row = {"method": "DGK and Paillier", "comparisons": count, "round_trip": round_trip, "repeat": 0}
        row |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "steps": line.messages}
        if opened != [each >= setting["least"] for each in clear]:
            raise SystemExit("compared wrongly")
        found.append(row)
    return found


if __name__ == "__main__":
    print(json.dumps(rows(json.loads(sys.argv[1])), allow_nan=False))
