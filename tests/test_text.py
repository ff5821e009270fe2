"""What reads texts: the last state of a GRU over the words, and a vector for each label."""

import torch

from vae_zoo.text import LabelText, RecurrentText

CAPTIONS = ("a red circle over a blue star", "a green square", "a blue star left of a red circle and a green square")


def test_a_text_is_read_to_its_last_word():
    text = RecurrentText(3, CAPTIONS, features=5, width=4).double()
    for y, caption in enumerate(CAPTIONS):
        tokens = torch.tensor([text.vocabulary[word] for word in caption.split()])
        states, _ = text.reader(text.embedding(tokens)[None])  # by itself, without what pads it in a batch
        torch.testing.assert_close(text(torch.tensor([y]))[0], states[0, -1])
        torch.testing.assert_close(text(torch.tensor([2, y, 0]))[1], states[0, -1])


def test_a_text_that_is_too_long_is_cut():
    text = RecurrentText(2, ("a b c d", "a b e"), longest=2)
    assert torch.equal(text(torch.tensor([0])), text(torch.tensor([1])))


def test_a_label_has_a_vector_of_its_own():
    text = LabelText(3, features=4)
    torch.testing.assert_close(text(torch.tensor([2, 0])), text.embedding.weight[[2, 0]])
