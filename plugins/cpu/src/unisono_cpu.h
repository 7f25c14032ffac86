/* The C interface. Every int-returning function gives 0 or a status (below); uc_last_error() then
   says what is wrong, in the calling thread. Pointers are to memory of this process; nothing is
   kept beyond a call but by uc_decoder_new, which keeps the packed weights' and norms' addresses.
   Any thread may call; calls that use the pool wait for one another. */
#ifndef UNISONO_CPU_H
#define UNISONO_CPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UC_ABI_VERSION 6

enum {
  UC_OK = 0,
  UC_BAD_ARGUMENT = 1,
  UC_NO_MEMORY = 2,
  UC_UNSUPPORTED = 3,
  UC_CORRUPT = 4,
  UC_NOT_FINITE = 5
};
enum { UC_BFLOAT16 = 0, UC_FLOAT32 = 1, UC_FLOAT16 = 2 };
enum { UC_F32 = 0, UC_BF16 = 1, UC_INT8 = 2, UC_INT4 = 3, UC_INT4_ZERO = 4 };

/* -- the library ---------------------------------------------------------------------------- */
int uc_abi_version(void);
const char* uc_last_error(void);
const char* uc_isa(void);
const char* uc_available_isa(int index); /* Best first; NULL beyond the last. */
int uc_set_isa(const char* name);        /* NULL or "": the best. */
const char* uc_features(void);           /* Of the processor, with blanks; those that kernels ask for. */
int uc_threads(void);
int uc_set_threads(int count);
size_t uc_workspace_bytes(void);
void uc_release_workspace(void);
void uc_test_fail_allocation(int after); /* For tests; -1 ends it. */
int uc_read(const void* data, size_t bytes, uint64_t* sum); /* A plain read, all threads. */
/* Products of a format without memory, `rounds` on each thread; how many operations these were. */
int uc_products(int format, int64_t rounds, double* operations);

/* -- packed weights ------------------------------------------------------------------------- */
typedef struct {
  int32_t format, group, scale_dtype; /* group 0: the whole row. */
  int64_t rows, cols;
  int64_t num_scales; /* A row. */
  int64_t bytes;      /* Of the blob, header included. */
} uc_weight_info;

int uc_describe(int format, int group, int scale_dtype, int64_t rows, int64_t cols,
                uc_weight_info* info);
int uc_inspect(const void* blob, size_t bytes, uc_weight_info* info);
int uc_verify(const void* blob, size_t bytes); /* Also the checksum. */
int uc_pack(const void* source, int dtype, int64_t stride, const uc_weight_info* info, void* blob,
            size_t bytes);
int uc_pack_levels(const uint8_t* levels, const float* scales, const uint8_t* zeros,
                   const float* shifts, const uc_weight_info* info, void* blob, size_t bytes);
int uc_unpack(const void* blob, size_t bytes, float* out);
int uc_embed(const void* blob, size_t bytes, const int64_t* ids, int64_t count, void* out,
             int dtype);

/* -- products: y [rows, N] = x [rows, K] W^T + bias [N] ------------------------------------- */
typedef struct {
  const void* blob;
  size_t bytes;
  const float* bias; /* Or NULL. */
} uc_linear;

int uc_multiply(const uc_linear* linear, const void* x, int x_dtype, int64_t x_stride,
                int64_t rows, void* y, int y_dtype, int64_t y_stride);
int uc_mlp(const uc_linear* gate_up, const uc_linear* down, const void* x, int x_dtype,
           int64_t x_stride, int64_t rows, void* y, int y_dtype, int64_t y_stride);

/* gate_up, down: [num_experts], blob NULL where no token takes the expert, no biases; ids int64 and
   weights: [tokens, chosen]. y = the weighted sum of what a token's experts give. */
int uc_experts(const uc_linear* gate_up, const uc_linear* down, int64_t num_experts,
               const int64_t* ids, const float* weights, int64_t tokens, int64_t chosen,
               const void* x, int x_dtype, int64_t x_stride, void* y, int y_dtype,
               int64_t y_stride);

/* -- rows of a step ------------------------------------------------------------------------- */
/* sum = x + residual (NULL: x alone), y = norm(sum) * weight. sum may be NULL and
   is not residual. */
int uc_add_rms_norm(const void* x, int x_dtype, const float* residual, float* sum,
                    const float* weight, float eps, int64_t rows, int64_t size, void* y,
                    int y_dtype);
int uc_silu_mul(const void* gate_up, int dtype, int64_t rows, int64_t size, void* y, int y_dtype);
int uc_rotary_heads(const void* qkv, int dtype, int64_t tokens, int num_heads, int num_kv_heads,
                    int head_dim, int half, const float* q_norm, const float* k_norm, float eps,
                    const float* cos, const float* sin, void* query, void* key, int out_dtype);

/* -- the paged cache ------------------------------------------------------------------------ */
typedef struct {
  void* data; /* [2, num_blocks, block_size, num_kv_heads, head_dim]; blocks may lie apart. */
  int64_t num_blocks;
  int32_t dtype, block_size, num_kv_heads, head_dim;
  int64_t block_bytes; /* From block to block. */
  int64_t value_bytes; /* From a key to its value. */
} uc_cache;

typedef struct {
  int32_t num_rows;
  int32_t reserved;
  int64_t num_tokens;
  const int32_t* query_lens;    /* [num_rows]. */
  const int32_t* context_lens;  /* [num_rows], this step's tokens included. */
  const int32_t* blocks;        /* All rows' block tables, one behind the other. */
  const int64_t* table_starts;  /* [num_rows + 1], into blocks. */
  const int64_t* slots;         /* [num_tokens]. */
  int64_t window;               /* Positions a query sees, itself included; 0: all before it. */
} uc_step;

int uc_kv_write(const uc_cache* cache, const uc_step* step, const void* key, const void* value,
                int dtype, int64_t key_stride, int64_t value_stride);
/* query, out: [tokens, num_heads, head_dim]. softcap 0: none; sinks [num_heads] or NULL. */
int uc_attention(const uc_cache* cache, const uc_step* step, int num_heads, float scale,
                 float softcap, const float* sinks, const void* query, int dtype,
                 int64_t query_stride, void* out, int out_dtype);

/* -- all layers ----------------------------------------------------------------------------- */
typedef struct {
  const float *input_norm, *post_norm; /* [hidden]. */
  const float *q_norm, *k_norm;        /* [head_dim], both or neither. */
  uc_linear qkv, output, gate_up, down;
} uc_layer;

typedef struct {
  int32_t num_layers, hidden, inner, num_heads, num_kv_heads, head_dim;
  int32_t half; /* 2 * half dimensions of a head turn. */
  float eps, scale, softcap;
  const uc_layer* layers;
  const float* final_norm; /* NULL: the branch and the residual come out, not their norm. */
} uc_decoder_spec;

typedef struct {
  const uc_step* step; /* Layers may share one. */
  uc_cache cache;
} uc_layer_step;

typedef struct uc_decoder uc_decoder;

/* What enters the first layer. */
typedef struct {
  const void* rows;   /* [tokens, hidden], or with ids a table [vocabulary, hidden]. */
  const int64_t* ids; /* [tokens], or NULL. */
  int64_t vocabulary;
  int32_t dtype;
  int32_t reserved;
} uc_rows;

/* How tokens turn: the angles' cosines and sines, or what the angles are made of. */
typedef struct {
  const float *cos, *sin;   /* [tokens, half], or NULL, and then: */
  const int64_t* positions; /* [tokens]. */
  const float* frequencies; /* [half]. */
  float scale;              /* Of cosines and sines. */
} uc_turns;

int uc_decoder_new(const uc_decoder_spec* spec, uc_decoder** decoder);
void uc_decoder_free(uc_decoder* decoder);
/* residual (or NULL), out, residual_out (needed without a final norm): [tokens, hidden] of x's
   dtype; layers: [num_layers]. */
int uc_decoder_run(const uc_decoder* decoder, const uc_layer_step* layers, int64_t tokens,
                   const uc_rows* x, const void* residual, const uc_turns* turns, void* out,
                   void* residual_out);

/* Adapters: y += (x down) up beside the products of a layer, qkv, output, gate_up and down. */
typedef struct {
  int64_t first_row, num_rows; /* Of y: multiples of 16, of which the last may lie beyond it. */
  int32_t rank, offset;        /* Which of the numbers x down. */
  const void* up;              /* [num_rows / 16, rank, 16]. */
} uc_low_rank_part;

typedef struct {
  int64_t cols;
  int32_t rank, dtype; /* A multiple of 16; bfloat16 or float32. */
  const void* down;    /* [rank / 16, cols, 16]; NULL: nothing is added. */
  const uc_low_rank_part* parts;
  int32_t num_parts, reserved;
} uc_low_rank;

typedef struct {
  const int32_t* of_tokens; /* [tokens]: a number of an adapter, or -1. */
  int32_t num_adapters, reserved;
  const uc_low_rank* low_ranks; /* [num_layers, 4, num_adapters]. */
} uc_adapters;

/* As uc_decoder_run. Tokens without an adapter have the same bits as there. */
int uc_decoder_run_adapted(const uc_decoder* decoder, const uc_layer_step* layers, int64_t tokens,
                           const uc_rows* x, const void* residual, const uc_turns* turns,
                           void* out, void* residual_out, const uc_adapters* adapters);

/* -- choosing tokens ------------------------------------------------------------------------ */
int uc_argmax(const float* logits, int64_t rows, int64_t vocabulary, int64_t* ids);
int uc_draw(const float* logits, int64_t rows, int64_t vocabulary, const double* uniforms,
            const int32_t* top_k, const float* top_p, const float* min_p, int64_t* ids);

#ifdef __cplusplus
}
#endif
#endif
