"""The models are small, and other tests may run beside these."""

import torch

torch.set_num_threads(1)
