"""Whether a picture fits its text: the augmentation, the discriminator of both, and its loss."""

import torch
from torch.nn.functional import logsigmoid

from vae_zoo import objectives
from vae_zoo.matching import ConditioningAugmentation, MatchingDiscriminator, kl_to_standard


def test_the_augmentation_is_a_normal_and_its_kl_the_closed_form():
    augmentation = ConditioningAugmentation(5, 3).double()
    text = torch.randn(4, 5, dtype=torch.float64)
    q = augmentation(text)
    out = text @ augmentation.linear.weight.T + augmentation.linear.bias
    mean, sigma = out[:, :3], (out[:, 3:] / 2).exp()
    torch.testing.assert_close(q.mean, mean)
    torch.testing.assert_close(q.stddev, sigma)
    for i, kl in enumerate(kl_to_standard(q)):
        torch.testing.assert_close(
            kl, sum((mean[i, d] ** 2 + sigma[i, d] ** 2 - 2 * sigma[i, d].log() - 1) / 2 for d in range(3))
        )


def test_wrong_texts_count_half_and_only_where_they_differ():
    real, wrong, fake = torch.randn(3, 6, dtype=torch.float64)
    differs = torch.tensor([True, True, False, True, False, True])
    for i, loss in enumerate(objectives.matching_loss(real, wrong, fake, differs)):
        expected = -logsigmoid(real[i])
        if differs[i]:
            expected = expected - (1 - wrong[i].sigmoid()).log() / 2 - (1 - fake[i].sigmoid()).log() / 2
        else:
            expected = expected - (1 - fake[i].sigmoid()).log()
        torch.testing.assert_close(loss, expected)


def test_the_discriminator_sees_picture_and_text():
    discriminator = MatchingDiscriminator((3, 16, 16), 5, 4, 6).double()
    x, text = torch.rand(4, 3, 16, 16, dtype=torch.float64) * 2 - 1, torch.randn(4, 5, dtype=torch.float64)
    maps, beside = discriminator.maps(x), discriminator.compress(text)
    filled = torch.cat([maps, torch.zeros(4, 6, 4, 4, dtype=torch.float64)], 1)
    for row in range(4):
        for column in range(4):
            filled[:, -6:, row, column] = beside
    torch.testing.assert_close(discriminator(x, text), discriminator.verdict(filled))
    assert discriminator(x, text).shape == (4,)
