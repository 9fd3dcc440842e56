/* CPU quota of this process's control group, versions 1 and 2. */
#ifndef QG_BASE_CGROUP_H
#define QG_BASE_CGROUP_H

/* Processors that the quota allows, rounded up; 0 when there is no quota or nothing can be read.
 * list is /proc/self/cgroup, root the mount point; the group and all groups above it are looked at,
 * and the smallest quota counts.  Any thread. */
int qg_cgroup_cpus(const char *list, const char *root);

#endif
