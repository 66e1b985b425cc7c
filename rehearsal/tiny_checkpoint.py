"""A tiny XLM-RoBERTa with random weights, in the layout of the real one: a rehearsal trains it in seconds.

It has no labels: like the real base checkpoint it gets a new head. The same texts and seed give the same
bytes, so that two rehearsals can be compared.
"""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

XLM_R = {"model_max_length": 512, "model_input_names": ["input_ids", "attention_mask"]}
XLM_R |= {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
XLM_R |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}


def make_checkpoint(folder: Path, texts: list[str], seed: int = 42, vocab_size: int = 2500) -> Path:
    """Write config, weights and a tokenizer of at most `vocab_size` pieces, learnt from the texts."""
    tokenizer = _train_tokenizer(texts, vocab_size)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=514,  # 512 positions after padding_idx + 1, as in the real one
        type_vocab_size=1,
        hidden_dropout_prob=0.05,
        attention_probs_dropout_prob=0.05,
        initializer_range=0.08,  # the usual 0.02 suits wide layers; this narrow model would learn too slowly
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = XLMRobertaModel(config, add_pooling_layer=False)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _train_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A unigram model over words with a leading ▁, as in SentencePiece; special ids are those of XLM-R.

    The trainer visits rare characters in hash order, which changes their scores: here they all get the same.
    """
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=vocab_size - 5, show_progress=False)  # 5 special tokens
    tokenizer.train_from_iterator(texts, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]["vocab"]
    scores = {piece: round(score, 3) for piece, score in learnt if len(piece) > 1}
    lone = [piece for piece, _ in learnt if len(piece) == 1]
    scores |= dict.fromkeys(lone, min(scores.values()) - 1)
    pieces = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
    special = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer.model = models.Unigram([*special, *pieces, ("<mask>", 0.0)], unk_id=3)
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **XLM_R)
