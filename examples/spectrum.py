"""The curvature of a fitted model: the extreme eigenvalues of its Hessian.

python examples/spectrum.py --model logistic

Fits the handwritten digits as examples/digits.py does, then asks scipy's eigsh for the ends of
the spectrum. Only Hessian-vector products are taken; the Hessian is never formed.
"""

from __future__ import annotations

import argparse

import digits
import torch
from scipy.sparse.linalg import eigsh


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="logistic", choices=("logistic", "mlp"))
    parser.add_argument("--count", type=int, default=3, help="eigenvalues at each end")
    arguments = parser.parse_args()

    data = digits.load("cpu", torch.float64, seed=0)
    model = digits.make_model(arguments.model, "cpu", torch.float64, seed=0)
    optimizer = digits.fit(model, data, "L-BFGS-B")
    print(f"loss {optimizer.res.fun:.6f} after {optimizer.res.nfev} evaluations")

    hessian = optimizer.hessian(lambda: digits.objective(model, data))
    largest = eigsh(hessian, k=arguments.count, which="LA", return_eigenvectors=False)
    # The smallest crowd just above the weight decay, where Lanczos is slow: two digits will do.
    smallest = eigsh(
        hessian, k=arguments.count, which="SA", ncv=60, tol=1e-2, return_eigenvectors=False
    )
    print(f"Hessian of {hessian.shape[0]} x {hessian.shape[1]}")
    print("largest eigenvalues ", *(f"{value:.6f}" for value in sorted(largest, reverse=True)))
    print("smallest eigenvalues", *(f"{value:.5f}" for value in sorted(smallest)))


if __name__ == "__main__":
    main()
