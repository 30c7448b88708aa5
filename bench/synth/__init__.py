"""The embedded data set: a deterministic generator that writes every layout the suite reads.

`bench.synth.scene` draws, `bench.synth.generate` writes. All pixels come from integer arithmetic, so they
are equal on every machine: float32 sine, for one, differs with the SIMD level of the processor.
"""
