// SPDX-License-Identifier: GPL-2.0-or-later
/* plant_pages: a module that takes number= pages from the page allocator, gives back all but every keep=th, and stays.
 * Nothing but allocation tags and page_owner can say whose they are. */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>

static unsigned long number = 1000, keep = 10;
module_param(number, ulong, 0444);
module_param(keep, ulong, 0444);
static LIST_HEAD(pages);

static noinline void plant(void)	/* not of the module's init text, whose symbols go when it has run */
{
	struct page *page, *next;
	unsigned long n, kept = 0;

	for (n = 0; n < number; n++) {
		page = alloc_page(GFP_KERNEL);
		if (!page)
			break;
		list_add_tail(&page->lru, &pages);
	}
	number = n;
	n = 0;
	list_for_each_entry_safe(page, next, &pages, lru) {
		if (n++ % keep) {
			list_del(&page->lru);
			__free_page(page);
		} else
			kept++;
	}
	pr_info("planted %lu pages, kept %lu\n", number, kept);
}
static int __init plant_init(void)
{
	plant();
	return 0;
}
module_init(plant_init);
MODULE_DESCRIPTION("Pages that only allocation tags and page_owner can name");
MODULE_LICENSE("GPL");
