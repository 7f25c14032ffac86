// What becomes of the sums of a tile of products.

constexpr int kMaxTileRows = 12, kMaxTileLanes = 64;

// A tile's sums on their way to y: the bias is added, the dtype is y's.
struct LinearTile {
  const MatmulJob& job;
  int64_t row;     // Of x, the tile's first.
  int64_t column;  // Of y, the tile's first.
  int lanes;    // A multiple of kLanes.
  float sums[kMaxTileRows * kMaxTileLanes];

  LinearTile(const MatmulJob& job, int64_t row, int64_t column, int lanes)
      : job(job), row(row), column(column), lanes(lanes) {}

  Sums target(int lane) { return {sums + lane, size_t(lanes)}; }

  void finish(int64_t rows) const {
    const Target y = job.y;
    for (int lane = 0; lane < lanes; lane += kLanes) {
      const int64_t n = column + lane, left = job.weight->layout.rows - n;
      if (left <= 0) return;
      const int count = left < kLanes ? int(left) : kLanes;
      const F bias = job.bias ? load_some(job.bias, kFloat32, n, count) : f_zero();
      size_t at = size_t(row) * y.stride + n;
      for (int64_t m = 0; m < rows; ++m, at += y.stride) {
        store_some(y.data, y.dtype, at, count, f_add(f_load(sums + m * lanes + lane), bias));
      }
    }
  }
};
