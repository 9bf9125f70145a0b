// Package show prints the answers of the monitors for people, in the shapes that
// administrators of Ceph know: the same columns, units and words, so that eyes
// and scripts find things where they were. It only formats; what is printed
// was computed by the monitor.
package show
