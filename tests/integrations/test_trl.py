"""CGRO's rewards in a real run of TRL's GRPOTrainer on the bundled model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flawsight.cgro.policy import LORA_TARGETS
from flawsight.cgro.score_rollout import Score, score_trace
from flawsight.cgro.train_settings import Consistency
from flawsight.data.dataset import Sample
from flawsight.errors import SettingsError
from flawsight.integrations.trl import (
    ConsistencyReward,
    accuracy_reward,
    format_reward,
    paper_arguments,
    set_image_tokens,
    training_rows,
)
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.mllm.replay import replay
from flawsight.settings import Settings
from flawsight_surfaces import TEST_FAMILIES, render_pair

# The bundled model attends little to the anomaly words: a J of .1 is common, and both classes earn
# R_cons now and then.
CONSISTENCY = Consistency(delta_anomalous=0.2, delta_normal=0.2)
STEPS, IMAGES, CANDIDATES = 3, 2, 4


def test_the_papers_step() -> None:
    arguments = paper_arguments()
    assert arguments["num_generations"] == 8
    a_pass = arguments["per_device_train_batch_size"]
    assert a_pass * arguments["gradient_accumulation_steps"] == 16 * 8
    assert paper_arguments(processes=4)["gradient_accumulation_steps"] == 4
    with pytest.raises(SettingsError, match="cannot be cut"):
        paper_arguments(images=3, candidates=3)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("surfaces")
    rng = np.random.default_rng(1)
    found = []
    for family in TEST_FAMILIES[:2]:
        for label, surface in enumerate(render_pair(rng, (240, 200), family=family)):
            path = folder / f"{family}{label}.png"
            Image.fromarray(surface.image).save(path)
            found.append(Sample(path, label, family, "train", str(label)))
    return found


class Spy:
    """A reward function of no weight that notes what TRL hands out, and scores it by itself."""

    __name__ = "spy"

    def __init__(self, mllm: MLLM) -> None:
        self.mllm = mllm
        self.policy: MLLM | None = None
        self.scores: list[list[Score]] = []
        self.base_maps_moved: list[bool] = []

    def __call__(
        self,
        prompts: list[Any],
        completion_ids: list[list[int]],
        image: list[Image.Image],
        label: list[int],
        **_: Any,
    ) -> list[float]:
        settings = Settings(image_tokens=None)
        self._check_prompts(prompts, image, settings)
        assert self.policy is not None
        model = self.policy.model.eval()
        one_by_one = [
            replay(self.policy, [one], [ids], settings)[0]
            for one, ids in zip(image, completion_ids, strict=True)
        ]
        with model.disable_adapter():
            base = replay(self.policy, image[:1], completion_ids[:1], settings)[0]
        moved = (base.image_attention - one_by_one[0].image_attention).abs().max() > 1e-5
        self.base_maps_moved.append(bool(moved))
        model.train()
        self.scores.append(
            [
                score_trace(trace, bool(y), settings, CONSISTENCY)
                for trace, y in zip(one_by_one, label, strict=True)
            ]
        )
        return [0.0] * len(label)

    def _check_prompts(
        self, prompts: list[Any], images: list[Image.Image], settings: Settings
    ) -> None:
        """What TRL lets the policy answer is what `encode_prompts` makes."""
        ours = encode_prompts(self.mllm, images[:1], settings).inputs
        theirs = self.mllm.processor.apply_chat_template(
            prompts[:1], add_generation_prompt=True, tokenize=True, return_dict=True
        )
        assert ours["input_ids"].tolist() == [list(ids) for ids in theirs["input_ids"]]
        pixels = torch.as_tensor(np.array(theirs["pixel_values"]))
        torch.testing.assert_close(ours["pixel_values"], pixels)


def test_trl_logs_our_rewards_of_the_policy_it_trains(
    samples: list[Sample], tmp_path: Path
) -> None:
    trl = pytest.importorskip("trl", reason="trl is not installed (the extra 'trl')")
    from peft import LoraConfig

    mllm = load_mllm(device="cpu")
    set_image_tokens(mllm.processor, 49)
    spy, consistency = Spy(mllm), ConsistencyReward(mllm, consistency=CONSISTENCY, batch_size=3)
    arguments = paper_arguments(IMAGES, CANDIDATES, batch_size=4)
    trainer = trl.GRPOTrainer(
        model=mllm.model,
        processing_class=mllm.processor,
        reward_funcs=[format_reward, accuracy_reward, consistency, spy],
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=STEPS,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
            temperature=1.5,
            reward_weights=[1.0, 1.0, 1.0, 0.0],
            **arguments | {"learning_rate": 1e-3, "max_completion_length": 48},
        ),
        train_dataset=training_rows(samples),
        peft_config=LoraConfig(
            r=8, lora_alpha=16, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
        ),
    )
    spy.policy = replace(mllm, model=trainer.model)
    trainable = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    assert trainable
    assert not [name for name in trainable if "visual.blocks" in name]
    trainer.train()

    logs = [entry for entry in trainer.state.log_history if "rewards/spy/mean" in entry]
    assert len(logs) == len(spy.scores) == STEPS
    for entry, scores in zip(logs, spy.scores, strict=True):
        assert len(scores) == IMAGES * CANDIDATES
        for name in ("format", "accuracy", "consistency"):
            mean = np.mean([getattr(score, name) for score in scores])
            assert entry[f"rewards/{name}_reward/mean"] == pytest.approx(mean), name
        assert entry["reward"] == pytest.approx(np.mean([score.total for score in scores]))
    # The policy moved, and R_cons with it; and the rewards were not all alike.
    assert spy.base_maps_moved == [False, True, True]
    assert len({score.consistency for scores in spy.scores for score in scores}) == 2
    assert any("J/defective" in entry or "J/normal" in entry for entry in logs)

    trainer.save_model(str(tmp_path / "adapter"))
    load_mllm(adapter=tmp_path / "adapter", device="cpu")
