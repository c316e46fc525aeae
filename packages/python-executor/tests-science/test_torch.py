"""PyTorch on the CPU. It is installed for one Python only, because it is large."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from python_executor import ExecutionResult

Run = Callable[..., ExecutionResult]

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the group `science` has torch for Python 3.11 alone"
)

PROGRAMS = {
    "tensors": """
import torch
a, b = torch.randn(256, 256), torch.randn(256, 256)
assert torch.allclose(a @ b, torch.einsum("ij,jk->ik", a, b), atol=1e-3)
q, r = torch.linalg.qr(a)
assert torch.allclose(q @ r, a, atol=1e-3)
assert torch.allclose(torch.fft.ifft(torch.fft.fft(a)).real, a, atol=1e-4)
assert torch.nn.functional.conv2d(a[None, None], torch.ones(1, 1, 3, 3)).shape[-1] == 254
assert torch.equal(torch.from_numpy(a.numpy()), a)
""",
    "gradients": """
import torch
x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
(x.pow(3).sum() + x.prod()).backward()
assert x.grad.tolist() == [9.0, 15.0, 29.0]
assert torch.autograd.functional.hessian(lambda x: (x**2).sum(), x).diagonal().tolist() == [2, 2, 2]
""",
    "training": """
import torch
from torch import nn
torch.manual_seed(0)
x = torch.linspace(-3, 3, 512)[:, None]
data = torch.utils.data.TensorDataset(x, x.sin())
loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)
model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for epoch in range(40):
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
assert loss.item() < 0.02, loss
torch.save(model.state_dict(), "model.pt")
model.load_state_dict(torch.load("model.pt", weights_only=True))
""",
    "threads": """
import threading
import torch
assert torch.get_num_threads() == 1
results = []
def work():
    results.append((torch.ones(300, 300) @ torch.ones(300, 300)).sum().item())
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert results == [300.0**3] * 8
""",
}


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_torch_works(run_torch: Run, code: str) -> None:
    run_torch(code)


def test_two_programs_draw_different_numbers(run_torch: Run) -> None:
    draws = {run_torch("import torch; torch.rand(1).item()")["value"] for _ in range(4)}
    assert len(draws) == 4


def test_programs_with_a_seed_draw_what_torch_draws_with_it(run_torch: Run) -> None:
    code = "import torch; torch.rand(3).tolist(), torch.randn(1).item()"
    by_itself = run_torch(code.replace("torch;", "torch; torch.manual_seed(3);"))["value"]
    assert {run_torch(code, seed=3)["value"] for _ in range(2)} == {by_itself}
