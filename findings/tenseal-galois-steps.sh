#!/bin/sh
# tenseal 0.3.18 (PyPI), seen 2026-11-29: rotation keys cannot be made for steps, though an overload for steps is listed.
#
# Input: a CKKS context of degree 8192 (moduli of 50, 50, 58 and 60 bits); KeyGenerator.create_galois_keys of
# tenseal.sealapi with the steps [1, 16], by which a server is to rotate.
# Expected: keys for rotations by 1 and 16. SEAL has two functions of that name, one for steps (int) and one for Galois
# elements (uint32), and the binding's own help lists the pair twice.
# Seen: ValueError "Galois element is not valid": a list of Python's ints always goes to the overload for elements, and the
# one for steps is never reached. With the elements themselves, 3^1 and 3^16 modulo 2 x 8192, keys are made. So keys for
# a few steps alone, a fifth of the 24 that are made by default, take arithmetic that no page of the package names.
#
# Exits 0 while this stands, 1 when it has changed. Needs Python 3.11 and a package registry.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "tenseal==0.3.18"
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import tenseal.sealapi as seal

DEGREE, STEPS = 8192, [1, 16]
parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
parameters.set_poly_modulus_degree(DEGREE)
parameters.set_coeff_modulus(seal.CoeffModulus.Create(DEGREE, [50, 50, 58, 60]))
generator = seal.KeyGenerator(seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128))
elements = [pow(3, step, 2 * DEGREE) for step in STEPS]
try:
    generator.create_galois_keys(STEPS, seal.GaloisKeys())
    refused = ""
except ValueError as error:
    refused = str(error)
keys = seal.GaloisKeys()
generator.create_galois_keys(elements, keys)
made = [keys.has_key(each) for each in elements]
print(f"steps {STEPS}: {refused or 'keys were made'}; elements {elements}: keys made {made}")
sys.exit(0 if "Galois element" in refused and all(made) else 1)
PYTHON
