"""CGRO's rewards in the GRPOTrainer of Hugging Face TRL.

    pip install 'flawsight[trl]'
    flawsight data make lines --pairs 20 --families leather
    python examples/train_with_trl.py lines --out runs/trl --steps 20
    flawsight inspect lines --adapter runs/trl --out runs/seen

`flawsight train` does the same with less time and memory (docs/training.md).
"""

import argparse
from pathlib import Path

from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

from flawsight.cgro.policy import LORA_TARGETS
from flawsight.data.open import open_datasets
from flawsight.integrations.trl import (
    ConsistencyReward,
    accuracy_reward,
    format_reward,
    paper_arguments,
    set_image_tokens,
    training_rows,
)
from flawsight.mllm.load import load_mllm


def main() -> None:
    """Train an adapter and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder with good/ and bad/, or another labelled data set")
    parser.add_argument("--model", help="folder or hub name (default: the bundled model)")
    parser.add_argument("--out", type=Path, default=Path("runs/trl"), help="folder of the adapter")
    parser.add_argument("--steps", type=int, default=20, help="number of weight updates")
    parser.add_argument("--images", type=int, default=16, help="images per step")
    parser.add_argument("--candidates", type=int, default=8, help="responses sampled per image")
    arguments = parser.parse_args()

    mllm = load_mllm(arguments.model)
    set_image_tokens(mllm.processor, 225)
    samples = [s for dataset in open_datasets(arguments.data) for s in dataset.samples]
    trainer = GRPOTrainer(
        model=mllm.model,
        processing_class=mllm.processor,
        reward_funcs=[format_reward, accuracy_reward, ConsistencyReward(mllm)],
        args=GRPOConfig(
            output_dir=str(arguments.out),
            max_steps=arguments.steps,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            bf16=mllm.device.type == "cuda",
            **paper_arguments(arguments.images, arguments.candidates),
        ),
        train_dataset=training_rows(samples),
        peft_config=LoraConfig(
            r=64, lora_alpha=128, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
        ),
    )
    trainer.train()
    trainer.save_model(arguments.out)


if __name__ == "__main__":
    main()
