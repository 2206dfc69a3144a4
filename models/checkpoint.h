/* SPDX-License-Identifier: Apache-2.0
 * Checkpoints: one safetensors file with the weights under open_clip's names, the optimizer's
 * moments under "adam.m/<name>" and "adam.v/<name>", and in the metadata what is needed to go on:
 * configuration, loss, step, seed, batch, blocks, tokenizer, augmentation when there is any. Any
 * safetensors reader sees the weights; this program continues to the same bits.
 */
#ifndef TD_MODELS_CHECKPOINT_H
#define TD_MODELS_CHECKPOINT_H

#include "models/safetensors.h"
#include "models/train.h"

/* Written by one rank: all have the same state. tokenizer: the file in use, or NULL for the
 * built-in one. */
td_status td_checkpoint_save(const char *path, td_train *train, const char *tokenizer);

/* Weights alone, into a flat buffer of `tensors`; every tensor must be there with its shape. */
td_status td_checkpoint_load_weights(const td_safetensors *file, const td_tensors *tensors,
                                     float *flat);

/* Weights, moments and the number of steps done. Model, loss, batch, blocks, seed and augmentation
 * must be those of the run that wrote the file, because the weights would otherwise not be its
 * continuation: TD_EUSAGE names the one that differs. */
td_status td_checkpoint_resume(const char *path, td_train *train);

/* How many steps the run had done that wrote the file. */
td_status td_checkpoint_step(const char *path, int64_t *step);

/* The configuration, loss and tokenizer ("" when built in) that a checkpoint's metadata names;
 * TD_EINPUT when the file holds none, as open_clip's do not. tokenizer is borrowed from the file.
 */
td_status td_checkpoint_describe(const td_safetensors *file, td_model_config *config, td_loss *loss,
                                 const char **tokenizer);

/* Of the metadata of any model's checkpoint: a number that must equal this run's, else TD_EUSAGE;
 * and the steps that were done. */
td_status td_checkpoint_same_number(const td_safetensors *file, const char *key, uint64_t expected);
td_status td_checkpoint_read_step(const td_safetensors *file, int64_t *step);

#endif
