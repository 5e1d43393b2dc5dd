"""Training under encryption, as POSEIDON does it (Sav et al. 2020): a labelled research demonstration.

A network with one hidden layer, trained by three to eight parties whose examples, gradients and weights nobody can read
before the end. From the ground up: `ring` (polynomials), `sampling` (numbers out of seeds), `slots` and `wide` (numbers
as polynomials, integers of 124 bits), `parameters`, `ciphertext` (CKKS), `keys`, `refresh`, `frames` (what travels),
`network` (what is computed, in clear too), `party` (one party's steps) and `lockstep` (all parties in one process).
docs/encrypted.md says what is claimed, and what it does not withstand.
"""
