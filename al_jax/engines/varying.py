"""The one place that knows how JAX versions mark values that differ between devices."""

import jax

from al_jax.types import PyTree


def varying(tree: PyTree, axes: tuple[str, ...]) -> PyTree:
    """Marks every array of a tree as varying over the mesh axes; does nothing where it already is."""

    def mark(x):
        missing = tuple(axis for axis in axes if axis not in _varies_over(jax.typeof(x)))
        if not missing:
            return x
        if hasattr(jax.lax, "pcast"):
            return jax.lax.pcast(x, missing, to="varying")
        return jax.lax.pvary(x, missing)  # pyrefly: ignore[missing-attribute], of JAX before 0.8

    return jax.tree.map(mark, tree)


def _varies_over(aval) -> frozenset[str]:
    # The type's field was called `vma` before JAX 0.10.
    return aval.vma if hasattr(aval, "vma") else aval.manual_axis_type.varying
