"""The dtype that TRL computes in is the dtype of the recipe's own forward passes."""

import copy

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("trl")

from tests.adapters import trl_world as world
from tests.adapters.test_trl_traps import first_batch

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and transformers, about their own deprecations

KL = {**world.GRPO, "loss": [{"use": "kl-loss", "weight": 0.1}]}
NUCLEUS = {
    **world.GRPO,
    "loss": [{"use": "entropy-bonus", "take": {"entropy": "nucleus_entropy"}, "weight": 0.1}],
}


def narrow_model(*, tied: bool):
    """Weights in bfloat16."""
    from transformers import Qwen2ForCausalLM

    config = copy.deepcopy(world.model().config)
    config.tie_word_embeddings = tied
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2ForCausalLM(config).bfloat16()


def run(tmp_path, recipe, *, tied=False, **settings):
    plain = {"cast_lm_head_to_fp32": True, "max_steps": 2, "learning_rate": 1e-2}
    config = world.settings(tmp_path, **{**plain, **settings})
    return world.ours(tmp_path, recipe, config=config, model=narrow_model(tied=tied))


def told(policy, batch, **options):
    made = policy.evaluate(batch, frozenset({"logp", "nucleus_entropy"}), **options)
    return {name: value.detach() for name, value in made.items()}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_a_last_layer_in_float32_is_in_float32_in_our_passes(tmp_path, tied, autocast):
    """Everything else is in bfloat16: the logits differ by what rounding the last layer would make of them."""
    trainer = run(tmp_path, KL, tied=tied, bf16=autocast)
    _, batch = first_batch(trainer)
    policy = trainer._cast.policy
    model, head = policy._causal, policy._causal.get_output_embeddings()
    assert head.weight.dtype == torch.float32
    ids = torch.cat([batch["prompt_tokens"], batch["tokens"]], 1)
    row = int(batch["mask"].sum(-1).argmax())  # the longest row has no padding behind it
    left = int((~batch["prompt_mask"][row]).sum())
    with torch.no_grad(), trainer.accelerator.autocast():
        hidden = model.base_model(input_ids=ids[row : row + 1, left:], use_cache=False)[0][0, :-1]
        said = told(policy, batch)["logp"][row]
    start = batch["prompt_tokens"].shape[1] - left - 1
    wide = F.linear(hidden.float(), head.weight).log_softmax(-1)[start:]
    rounded = F.linear(hidden.bfloat16(), head.weight.bfloat16()).float().log_softmax(-1)[start:]
    tokens = batch["tokens"][row][:, None]
    torch.testing.assert_close(said, wide.gather(1, tokens)[:, 0], atol=1e-5, rtol=0)
    assert float((wide - rounded).abs().max()) > 1e-3, "a rounded last layer says the same: this test shows nothing"


@pytest.mark.parametrize("tied", [False, True])
def test_a_reference_has_a_last_layer_of_its_own(tmp_path, tied):
    """TRL hangs a forward on the last layer too, and a copy of it would call the policy's."""
    trainer = run(tmp_path, KL, tied=tied)
    reference = trainer._cast.reference.module["model"]
    ids = torch.arange(2, 8)[None]
    before = reference(input_ids=ids).logits
    assert before.dtype == torch.float32
    torch.testing.assert_close(before, trainer.model(input_ids=ids).logits)
    with torch.no_grad():
        trainer.model.get_output_embeddings().weight += 1.0
    assert torch.equal(reference(input_ids=ids).logits, before)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("recipe", [KL, NUCLEUS], ids=["reference", "own pass"])
def test_recipes_with_passes_of_their_own_train_in_mixed_precision(tmp_path, recipe, autocast):
    trainer = run(tmp_path, recipe, bf16=autocast)
    trainer.train()
    norms = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
    assert all(0 < norm < 100 for norm in norms)


def test_our_passes_are_as_narrow_as_trls(tmp_path):
    """Under autocast a reference in float32 would differ from the policy that it is a copy of."""
    config = world.settings(tmp_path, bf16=True)
    trainer = world.ours(tmp_path, KL, config=config)
    output, batch = first_batch(trainer)
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
    theirs, *_ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, output["completion_ids"].shape[1])
    wide = trainer._cast.policy.evaluate(batch, frozenset({"logp"}))["logp"]  # as it is without autocast
    seen = batch["mask"]

    def apart(logp):
        return float((logp - theirs)[seen].abs().mean())

    assert apart(output["guerdon.ref_logp"]) < 0.75 * apart(wide)
