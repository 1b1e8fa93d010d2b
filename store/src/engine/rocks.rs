//! RocksDB as the engine. Its own log is off: the Raft log replays what a crash takes, from the last flush on.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB,
    DBCompressionType, DBRawIteratorWithThreadMode, Options, Range, ReadOptions, WriteBatch, WriteBufferManager,
    WriteOptions, checkpoint::Checkpoint,
};
use self_cell::self_cell;

use crate::engine::{Batch, Broken, Engine, Family, Pairs, Snapshot};
use crate::lock::Lock;

/// Memory of a database that is looked at once, bytes.
pub(crate) const SMALL: usize = 8 << 20;
/// Bytes of a block of rows: few enough to read for one of them, enough that a range costs few of them.
const BLOCK_BYTES: usize = 16 << 10;
/// Bytes of a block of an index or a filter, which are read and forgotten like others: those of a large state alone would
/// fill the memory.
const METADATA_BLOCK_BYTES: usize = 4096;

/// A RocksDB database.
pub(crate) struct Rocks {
    db: Arc<Owned>,
}

/// An open database; what reads it keeps its directory locked.
struct Owned {
    // Fields go in order: the lock outlives the files.
    db: DB,
    _lock: Option<Lock>,
}

impl Deref for Owned {
    type Target = DB;

    fn deref(&self) -> &DB {
        &self.db
    }
}

impl Rocks {
    /// Opens the database in a directory, making it when absent; keeps the lock as long as it is open. `memory`: bytes
    /// for blocks that were read and for writes that are not flushed; these begin to be at a quarter of it, and take
    /// their place from the blocks.
    ///
    /// # Errors
    /// When the disk fails or the files are damaged.
    pub(crate) fn open(dir: &Path, lock: Option<Lock>, memory: usize) -> Result<Self, Broken> {
        let cache = Cache::new_lru_cache(memory);
        let unflushed = memory / 4;
        let families = Family::ALL
            .map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache, unflushed)));
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        let unflushed = WriteBufferManager::new_write_buffer_manager_with_cache(unflushed, false, cache.clone());
        options.set_write_buffer_manager(&unflushed);
        options.set_max_background_jobs(2);
        options.set_keep_log_file_num(2);
        options.set_max_open_files(512);
        let db = DB::open_cf_descriptors(&options, dir, families).map_err(broken)?;
        Ok(Rocks { db: Arc::new(Owned { db, _lock: lock }) })
    }
}

fn family_options(family: Family, cache: &Cache, write_buffer: usize) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(METADATA_BLOCK_BYTES);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_top_level_index_and_filter(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    // What will soon be written again is not worth it.
    let none = DBCompressionType::None;
    options.set_compression_per_level(&[none, none, DBCompressionType::Lz4]);
    if family == Family::Latest {
        // A new key is told from those in memory without a search.
        options.set_memtable_prefix_bloom_ratio(0.05);
        options.set_memtable_whole_key_filtering(true);
    }
    options.set_write_buffer_size(write_buffer);
    options
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function of an error in map_err")]
fn broken(error: rocksdb::Error) -> Broken {
    Broken(format!("the state machine's database failed: {error}"))
}

/// A read that fails means lost data: nobody may go on with a part of it.
fn read<T>(result: Result<T, rocksdb::Error>) -> T {
    result.unwrap_or_else(|error| panic!("{}", broken(error)))
}

fn family(db: &DB, family: Family) -> &ColumnFamily {
    db.cf_handle(family.name()).expect("every family was opened")
}

type Frozen<'a> = rocksdb::Snapshot<'a>;

self_cell!(
    struct Held {
        owner: Arc<Owned>,
        #[not_covariant]
        dependent: Frozen,
    }
);

impl Snapshot for Held {
    fn get(&self, name: Family, key: &[u8]) -> Option<Bytes> {
        self.with_dependent(|db, snapshot| read(snapshot.get_cf(family(db, name), key)).map(Bytes::from))
    }

    fn scan(&self, name: Family, from: &[u8], to: Option<&[u8]>) -> Pairs<'_> {
        self.with_dependent(|db, snapshot| {
            let mut rows = rows(db, snapshot, name, from, to);
            Box::new(std::iter::from_fn(move || {
                let Some((key, value)) = rows.item() else {
                    read(rows.status());
                    return None;
                };
                let pair = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                rows.next();
                Some(pair)
            })) as Pairs<'_>
        })
    }

    fn visit(&self, name: Family, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.with_dependent(|db, snapshot| {
            let mut rows = rows(db, snapshot, name, from, to);
            while let Some((key, value)) = rows.item() {
                if !each(key, value) {
                    return;
                }
                rows.next();
            }
            read(rows.status());
        });
    }
}

/// At the first of the keys in `from..to`.
fn rows<'a>(
    db: &'a Owned,
    snapshot: &'a Frozen<'a>,
    name: Family,
    from: &[u8],
    to: Option<&[u8]>,
) -> DBRawIteratorWithThreadMode<'a, DB> {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(from);
    if let Some(to) = to {
        options.set_iterate_upper_bound(to);
    }
    let mut rows = snapshot.raw_iterator_cf_opt(family(db, name), options);
    rows.seek_to_first();
    rows
}

impl Engine for Rocks {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(Held::new(self.db.clone(), |db| db.snapshot()))
    }

    fn write(&self, batch: Batch) -> Result<(), Broken> {
        let mut rows = WriteBatch::default();
        for (name, key, value) in batch.changes {
            let family = family(&self.db, name);
            match value {
                Some(value) => rows.put_cf(family, key, value),
                None => rows.delete_cf(family, key),
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(rows, &options).map_err(broken)
    }

    fn flush(&self) -> Result<(), Broken> {
        let mut options = rocksdb::FlushOptions::default();
        options.set_wait(true);
        let families = Family::ALL.map(|name| family(&self.db, name));
        self.db.flush_cfs_opt(&families, &options).map_err(broken)
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Broken> {
        // Flushes first: without its own log, a checkpoint holds what was flushed.
        self.flush()?;
        Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(dir)).map_err(broken)
    }

    fn size(&self) -> u64 {
        let of = |name: Family| self.db.property_int_value_cf(family(&self.db, name), "rocksdb.total-sst-files-size");
        let tables: u64 = Family::ALL.into_iter().filter_map(|name| of(name).ok().flatten()).sum();
        let unflushed = self.db.property_int_value("rocksdb.cur-size-all-mem-tables").ok().flatten().unwrap_or(0);
        tables + unflushed
    }

    fn size_in_use(&self) -> u64 {
        let of =
            |name: Family| self.db.property_int_value_cf(family(&self.db, name), "rocksdb.estimate-live-data-size");
        let tables: u64 = Family::ALL.into_iter().filter_map(|name| of(name).ok().flatten()).sum();
        let unflushed = self.db.property_int_value("rocksdb.cur-size-all-mem-tables").ok().flatten().unwrap_or(0);
        (tables + unflushed).min(self.size())
    }

    fn size_between(&self, name: Family, from: &[u8], to: &[u8]) -> u64 {
        if from >= to {
            return 0;
        }
        self.db.get_approximate_sizes_cf(family(&self.db, name), &[Range::new(from, to)]).into_iter().sum()
    }

    fn tidy(&self) {
        let mut options = CompactOptions::default();
        // The compactions that writes need go on next to it.
        options.set_exclusive_manual_compaction(false);
        for name in Family::ALL {
            self.db.compact_range_cf_opt(family(&self.db, name), None::<&[u8]>, None::<&[u8]>, &options);
        }
    }
}
