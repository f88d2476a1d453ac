"""Real models of a few thousand weights, and a byte-level tokenizer made on the spot."""

import tokenizers
import torch
import transformers

TEXT = [
    "what is 12+7? it is 19.",
    "the cat sat on the mat; 3*4=12",
    "naïve café, 10€ → 汉字 🙂",
    "so <answer>5</answer> it is",
]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer(template: str | None = None):
    core = tokenizers.Tokenizer(tokenizers.models.BPE())
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXT, trainer)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    made.chat_template = template
    return made


def make_model(kind: str, vocabulary: int):
    torch.manual_seed(0)
    ends = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=vocabulary, n_positions=128, n_embd=32, n_layer=2, n_head=2, **ends)
        return transformers.GPT2LMHeadModel(config)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, **ends}
    shape |= {"vocab_size": vocabulary, "max_position_embeddings": 128, "initializer_range": 0.15}
    if kind == "sliding":
        config = transformers.MistralConfig(**shape, num_key_value_heads=2, sliding_window=6)
        return transformers.MistralForCausalLM(config)
    if kind == "capped":
        config = transformers.Gemma2Config(
            **shape, num_key_value_heads=2, head_dim=8, final_logit_softcapping=2.0, sliding_window=6
        )
        return transformers.Gemma2ForCausalLM(config)
    if kind == "scaled":
        config = transformers.CohereConfig(**shape, num_key_value_heads=2, logit_scale=0.25)
        return transformers.CohereForCausalLM(config)
    if kind == "divided":
        config = transformers.GraniteConfig(**shape, num_key_value_heads=2, logits_scaling=2.0)
        return transformers.GraniteForCausalLM(config)
    config = transformers.LlamaConfig(**shape, num_key_value_heads=2, tie_word_embeddings=True)
    return transformers.LlamaForCausalLM(config)


def saved_model(where, template: str | None = None) -> str:
    """A small Llama and its tokenizer, written to the folder ``where``."""
    tokenizer = make_tokenizer(template)
    tokenizer.save_pretrained(where)
    make_model("llama", len(tokenizer)).save_pretrained(where)
    return str(where)


def letters(prompts, completions, **columns):
    """A reward that any model earns in part and can learn: the share of letters."""
    return [sum(c.isalpha() for c in text) / max(1, len(text)) for text in completions]
