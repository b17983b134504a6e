"""Small synthetic bandits whose true policy values are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.ope.estimators import BanditLog, Floats


@dataclass(frozen=True)
class Bandit:
    """x ~ N(0, I₂); P(reward 1 | x, a) is a clipped line in x; a population of 4,000 prompts with known means."""

    features: Floats
    means: Floats

    @classmethod
    def make(cls, seed: int = 0, actions: int = 4, prompts: int = 4000) -> Bandit:
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(prompts, 2))
        slopes, base = rng.normal(scale=0.15, size=(2, actions)), np.linspace(0.35, 0.7, actions)
        return cls(features, np.clip(base + features @ slopes, 0.02, 0.98))

    def greedy(self) -> Floats:
        """A good deterministic policy: the best mean up to some noise."""
        noisy = self.means + np.random.default_rng(1).normal(scale=0.1, size=self.means.shape)
        return np.eye(self.means.shape[1])[noisy.argmax(axis=1)]

    def epsilon(self, epsilon: float) -> Floats:
        """A logging policy that favours the cheapest model where x₀ < 0 and the second one elsewhere."""
        favourite = (self.features[:, 0] > 0).astype(int)
        actions = self.means.shape[1]
        return (1 - epsilon) * np.eye(actions)[favourite] + epsilon / actions

    def value(self, policy: Floats) -> float:
        return float((policy * self.means).sum(axis=1).mean())

    def draw(self, logging: Floats, n: int, seed: int, session: int = 1) -> tuple[BanditLog, np.ndarray]:
        """n decisions and their prompts; each session of ``session`` rows repeats one prompt, choice and reward."""
        rng = np.random.default_rng((seed, 99))
        rows = rng.integers(0, len(self.means), n // session)
        action = (logging[rows].cumsum(axis=1) > rng.random(len(rows))[:, None]).argmax(axis=1)
        reward = (rng.random(len(rows)) < self.means[rows, action]).astype(float)
        pscore = logging[rows, action]
        cluster = np.arange(len(rows))
        rows, action, reward, pscore, cluster = (np.repeat(v, session) for v in (rows, action, reward, pscore, cluster))
        return BanditLog(action, reward, pscore, cluster if session > 1 else None), rows
