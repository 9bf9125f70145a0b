// Package clienttest has an in-memory pool for tests of what stands on
// client.Objects: buckets, images, trees.
//
// It evaluates operations with the code the OSDs use (osd/objop), one at a
// time, so limits, conditions and results are those of a real cluster. Hooks
// let a test delay, refuse or lose operations. It knows nothing of placement
// and keeps nothing after the test.
package clienttest
